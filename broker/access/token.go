package access

import (
	"crypto/subtle"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/posternhq/postern/broker/policy"
	"github.com/posternhq/postern/events"
)

// Methods of joining.
const (
	MethodToken      = "token"
	MethodIAM        = "iam"
	MethodEC2        = "ec2"
	MethodKubernetes = "kubernetes"
)

// JoinMethods lists the methods.
func JoinMethods() []string {
	return []string{MethodToken, MethodIAM, MethodEC2, MethodKubernetes}
}

// AgentKinds lists what can join.
func AgentKinds() []string { return []string{"proxy", "auditor"} }

// Token is a way to join.
type Token struct {
	events.JoinToken
	Revision uint64
	Uses     int
	// Instances are the EC2 instances that joined by it.
	Instances map[string]bool
}

// Over says why nobody can join by the token any more, or "".
func (t *Token) Over(now time.Time) string {
	switch {
	case t.ExpiresAt != nil && !now.Before(*t.ExpiresAt):
		return "it expired at " + t.ExpiresAt.UTC().Format(time.RFC3339)
	case t.MaxUses > 0 && t.Uses >= t.MaxUses:
		return fmt.Sprintf("it was used %d times, which is all it allows", t.Uses)
	}
	return ""
}

// Proof is what a joining service has proved, by the method of its token.
type Proof struct {
	Method string
	// SecretSHA256, in hex, of the secret that it showed.
	SecretSHA256 string
	// Account and ARN of the principal that STS named; Account, Region and
	// Instance of a signed identity document.
	Account, ARN, Region, Instance string
	// Cluster by which the service account's JWT was verified.
	Cluster        Cluster
	ServiceAccount string
}

// Cluster is by what a Kubernetes cluster's word is believed.
type Cluster struct{ JWKS, URL, CA, Issuer, Audience string }

// ClusterOf is the cluster of a token.
func ClusterOf(k events.JoinKubernetes) Cluster {
	return Cluster{k.JWKS, k.JWKSURL, k.CA, k.Issuer, k.Audience}
}

// principal names who proved to be there.
func (p Proof) principal() string {
	switch p.Method {
	case MethodIAM:
		return p.ARN
	case MethodEC2:
		return p.Account + "/" + p.Instance
	}
	return p.ServiceAccount
}

// Join is the command to let a service in, whose certificate is made and kept
// back until the event stands.
type Join struct {
	Token, Kind, Agent string
	Proof              Proof
	ClientAddr, Serial string
	ExpiresAt          time.Time
}

// JoinBy decides a Join. Whatever is wrong with name or secret, the refusal is
// the same.
func JoinBy(s *State, env Env, c Join) ([]events.Event, error) {
	if err := CheckAgent(c.Kind, c.Agent); err != nil {
		return nil, refuse(Invalid, "%v", err)
	}
	t := s.Tokens[c.Token]
	if t == nil || t.Method != c.Proof.Method || !t.fits(c.Proof) {
		return nil, refuse(Denied, "token %s does not let this %s in", c.Token, c.Kind)
	}
	if over := t.Over(env.Now); over != "" {
		return nil, refuse(Denied, "token %s: %s", c.Token, over)
	}
	if !slices.Contains(t.Kinds, c.Kind) {
		return nil, refuse(Denied, "token %s is for %s, not %s", c.Token, strings.Join(t.Kinds, " and "), c.Kind)
	}
	if c.Proof.Instance != "" && t.Instances[c.Proof.Instance] {
		e := refuse(Denied, "instance %s joined by token %s already: an identity document counts once", c.Proof.Instance, c.Token)
		e.Next = "postern rm token/" + c.Token + ", and create it again"
		return nil, e
	}
	if err := AdmitAgent(s, env.Now, c.Agent); err != nil {
		return nil, err
	}
	return env.one("", "", &events.TokenUsed{
		Name: c.Token, Kind: c.Kind, Agent: c.Agent, Principal: c.Proof.principal(),
		ClientAddr: c.ClientAddr, CertificateSerial: c.Serial, ExpiresAt: c.ExpiresAt,
	}), nil
}

// RenewAgent records a service's next certificate, if no lock stands against it.
func RenewAgent(s *State, env Env, renewed events.AgentRenewed) ([]events.Event, error) {
	if err := AdmitAgent(s, env.Now, renewed.Agent); err != nil {
		return nil, err
	}
	return env.one("", "", &renewed), nil
}

// CAHead is the end of the CA's history.
func CAHead(s *State) Head { return s.Head((&events.CARotated{}).Channel()) }

// RotateCA records a phase of the CA's rotation, that was made from head.
func RotateCA(s *State, env Env, head Head, phase events.CARotated) ([]events.Event, error) {
	if CAHead(s) != head {
		return nil, refuse(Conflict, "somebody else rotates the CA at the same time")
	}
	phase.By = env.By
	return env.one("", "", &phase), nil
}

// AdmitAgent refuses services that are locked.
func AdmitAgent(s *State, now time.Time, agent string) error {
	if l := s.LockOn(now, events.LockTarget{Kind: "agent", Name: agent}); l != nil {
		return locked(l)
	}
	return nil
}

// fits says whether the proof is of one whom the token lets in.
func (t *Token) fits(p Proof) bool {
	switch t.Method {
	case MethodToken:
		return t.SecretSHA256 != "" && subtle.ConstantTimeCompare([]byte(t.SecretSHA256), []byte(p.SecretSHA256)) == 1
	case MethodIAM, MethodEC2:
		return slices.ContainsFunc(t.AWS, func(a events.JoinAWS) bool {
			return a.Account == p.Account && (a.ARN == "" || wildcard(a.ARN).MatchString(p.ARN)) &&
				(len(a.Regions) == 0 || slices.Contains(a.Regions, p.Region))
		})
	case MethodKubernetes:
		// What it was verified by may have been changed since.
		return t.Kubernetes != nil && ClusterOf(*t.Kubernetes) == p.Cluster && slices.Contains(t.Kubernetes.ServiceAccounts, p.ServiceAccount)
	}
	return false
}

// wildcard is a pattern in which * is any text and ? one character.
func wildcard(pattern string) *regexp.Regexp {
	quoted := regexp.QuoteMeta(pattern)
	return regexp.MustCompile(`^(?s:` + strings.NewReplacer(`\*`, `.*`, `\?`, `.`).Replace(quoted) + `)$`)
}

var agentForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`)

// CheckAgent reports what is wrong with a service's kind or name.
func CheckAgent(kind, name string) error {
	if !slices.Contains(AgentKinds(), kind) {
		return fmt.Errorf("%q cannot join: want %s", kind, strings.Join(AgentKinds(), " or "))
	}
	if !agentForm.MatchString(name) {
		return fmt.Errorf("%q is not the name of a %s: want letters, digits and . _ -, 63 at most", name, kind)
	}
	return nil
}

// CheckToken reports what is wrong with a token.
func CheckToken(t events.JoinToken) []policy.Fault {
	var c check
	c.that("metadata.name", checkName(t.Name))
	if len(t.Kinds) == 0 {
		c.that("spec.roles", errors.New("missing; want Proxy, Auditor or both"))
	}
	for i, k := range t.Kinds {
		if slices.Contains(t.Kinds[:i], k) {
			c.that("spec.roles", fmt.Errorf("%s stands there twice", k))
		}
		if !slices.Contains(AgentKinds(), k) {
			c.that("spec.roles", fmt.Errorf("%q cannot join; want Proxy or Auditor", k))
		}
	}
	if t.MaxUses < 0 {
		c.that("spec.max_uses", errors.New("must be positive, or absent for any number"))
	}
	switch t.Method {
	case MethodToken:
		if b, err := hex.DecodeString(t.SecretSHA256); err != nil || len(b) != 32 || t.SecretSHA256 != strings.ToLower(t.SecretSHA256) {
			c.that("spec.secret_sha256", errors.New("want the SHA-256 of a long random secret in lower-case hex; `postern tokens add` makes both"))
		}
	case MethodIAM, MethodEC2:
		if len(t.AWS) == 0 {
			c.that("spec.allow", fmt.Errorf("missing; want the AWS accounts whose %s may join", map[string]string{MethodIAM: "principals", MethodEC2: "instances"}[t.Method]))
		}
		for i, a := range t.AWS {
			at := fmt.Sprintf("spec.allow[%d]", i)
			c.that(at+".aws_account", policy.CheckAccount(a.Account))
			if a.ARN != "" && t.Method == MethodEC2 {
				c.that(at+".aws_arn", errors.New("an identity document names no ARN"))
			}
			if len(a.Regions) > 0 && t.Method == MethodIAM {
				c.that(at+".aws_regions", errors.New("STS names no region"))
			}
		}
	case MethodKubernetes:
		k := t.Kubernetes
		if k == nil || k.JWKS == "" && k.JWKSURL == "" && k.Issuer == "" {
			c.that("spec.kubernetes", errors.New("no keys to know the cluster by; want static_jwks.jwks (kubectl get --raw /openid/v1/jwks prints it), jwks_url.url or oidc.issuer"))
			break
		}
		c.keys(*k)
		if k.Audience == "" {
			c.that("spec.kubernetes.audience", errors.New("missing"))
		}
		if len(k.ServiceAccounts) == 0 {
			c.that("spec.allow", errors.New("missing; want service_account: NAMESPACE:NAME"))
		}
		for i, a := range k.ServiceAccounts {
			if ns, name, ok := strings.Cut(a, ":"); !ok || ns == "" || name == "" || strings.Contains(name, ":") {
				c.that(fmt.Sprintf("spec.allow[%d].service_account", i), fmt.Errorf("%q is not NAMESPACE:NAME", a))
			}
		}
	default:
		c.that("spec.join_method", fmt.Errorf("%q is not a method; want one of %s", t.Method, strings.Join(JoinMethods(), ", ")))
	}
	if t.SecretSHA256 != "" && t.Method != MethodToken {
		c.that("spec.secret_sha256", errors.New("only method token has a secret"))
	}
	return c
}

// keys checks where a cluster's keys are.
func (c *check) keys(k events.JoinKubernetes) {
	switch {
	case k.JWKS != "" && (k.JWKSURL != "" || k.CA != ""):
		c.that("spec.kubernetes", errors.New("either the keys or where they are shown, not both"))
	case k.JWKS != "":
	case k.JWKSURL != "":
		c.that("spec.kubernetes.jwks_url.url", checkHTTPS(k.JWKSURL))
	default:
		c.that("spec.kubernetes.oidc.issuer", checkHTTPS(k.Issuer))
	}
	if k.CA != "" && !x509.NewCertPool().AppendCertsFromPEM([]byte(k.CA)) {
		c.that("spec.kubernetes", errors.New("ca: no certificate in PEM"))
	}
}

func checkHTTPS(s string) error {
	if u, err := url.Parse(s); err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.Fragment != "" {
		return fmt.Errorf("%q is not an https:// address", s)
	}
	return nil
}

// PutToken creates or replaces a token. Its uses go on counting.
func PutToken(s *State, env Env, t events.JoinToken, p Put) ([]events.Event, error) {
	old := s.Tokens[t.Name]
	revision := s.Head((&events.TokenDeleted{Name: t.Name}).Channel()).Revision
	same := false
	if old != nil {
		revision, same = old.Revision, alike(old.JoinToken, t)
	}
	faults := CheckToken(t)
	if !same && t.ExpiresAt != nil && !t.ExpiresAt.After(env.Now) {
		faults = append(faults, policy.Fault{Path: "metadata.expires", Err: errors.New("it is over already")})
	}
	write, err := p.decide("token", t.Name, revision, old != nil, same, faults)
	if !write || err != nil {
		return nil, err
	}
	if old == nil {
		return env.one("", "", &events.TokenCreated{JoinToken: t, By: env.By}), nil
	}
	return env.one("", "", &events.TokenUpdated{JoinToken: t, By: env.By}), nil
}

// DeleteToken ends a token. Who joined by it stays.
func DeleteToken(s *State, env Env, name string) ([]events.Event, error) {
	if s.Tokens[name] == nil {
		return nil, refuse(NotFound, "there is no token %s", name)
	}
	return env.one("", "", &events.TokenDeleted{Name: name, By: env.By}), nil
}

func (s *State) applyToken(e events.Event, h Head) {
	switch d := e.Data.(type) {
	case *events.TokenCreated:
		s.Tokens[d.Name] = &Token{JoinToken: d.JoinToken, Revision: h.Revision}
	case *events.TokenUpdated:
		t := &Token{JoinToken: d.JoinToken, Revision: h.Revision}
		if old := s.Tokens[d.Name]; old != nil {
			t.Uses, t.Instances = old.Uses, old.Instances
		}
		s.Tokens[d.Name] = t
	case *events.TokenDeleted:
		delete(s.Tokens, d.Name)
	case *events.TokenUsed:
		old := s.Tokens[d.Name]
		if old == nil {
			return
		}
		t := *old
		t.Uses++
		if t.Method == MethodEC2 {
			_, instance, _ := strings.Cut(d.Principal, "/")
			if t.Instances = maps.Clone(t.Instances); t.Instances == nil {
				t.Instances = map[string]bool{}
			}
			t.Instances[instance] = true
		}
		s.Tokens[d.Name] = &t
	}
}
