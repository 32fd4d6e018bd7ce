package resource

import (
	"errors"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/posternhq/postern/broker/access"
	"github.com/posternhq/postern/events"
)

// token reads a join token, in Teleport's form. Teleport's method token takes
// the token's name for its secret; here the secret's hash stands beside it.
func (r *reader) token(n *yaml.Node, path string, meta metadata) *events.JoinToken {
	t := &events.JoinToken{Name: meta.name, Method: access.MethodToken, ExpiresAt: meta.expires}
	var cluster events.JoinKubernetes
	r.fields(n, path, map[string]func(*yaml.Node, string){
		"roles": func(n *yaml.Node, at string) {
			for _, role := range r.list(n, at) {
				t.Kinds = append(t.Kinds, strings.ToLower(role))
			}
		},
		"join_method":   func(n *yaml.Node, at string) { t.Method = r.text(n, at) },
		"secret_sha256": func(n *yaml.Node, at string) { t.SecretSHA256 = r.text(n, at) },
		"max_uses":      func(n *yaml.Node, at string) { t.MaxUses = r.number(n, at) },
		"allow": func(n *yaml.Node, at string) {
			r.items(n, at, func(n *yaml.Node, at string) {
				if a, ok := r.joinAWS(n, at, &cluster); ok {
					t.AWS = append(t.AWS, a)
				}
			})
		},
		"kubernetes": func(n *yaml.Node, at string) { r.cluster(n, at, &cluster) },
	}, []string{"suggested_labels", "bot_name"})
	switch {
	case t.Method == access.MethodKubernetes:
		t.Kubernetes = &cluster
	case access.ClusterOf(cluster) != (access.Cluster{}) || len(cluster.ServiceAccounts) > 0:
		r.faultAt(path, errors.New("only join_method kubernetes takes service accounts"))
	}
	return t
}

// joinAWS reads one item of allow: AWS's are returned, a service account goes
// into cluster.
func (r *reader) joinAWS(n *yaml.Node, path string, cluster *events.JoinKubernetes) (a events.JoinAWS, ok bool) {
	account := ""
	r.fields(n, path, map[string]func(*yaml.Node, string){
		"aws_account":     func(n *yaml.Node, at string) { a.Account, ok = r.text(n, at), true },
		"aws_arn":         func(n *yaml.Node, at string) { a.ARN, ok = r.text(n, at), true },
		"aws_regions":     func(n *yaml.Node, at string) { a.Regions, ok = r.list(n, at), true },
		"service_account": func(n *yaml.Node, at string) { account = r.text(n, at) },
	}, nil)
	if account != "" {
		cluster.ServiceAccounts = append(cluster.ServiceAccounts, account)
	}
	if account != "" && ok || account == "" && !ok {
		r.faultAt(path, errors.New("want aws_account (with aws_arn or aws_regions) or service_account"))
	}
	return a, ok
}

func (r *reader) cluster(n *yaml.Node, path string, cluster *events.JoinKubernetes) {
	r.fields(n, path, map[string]func(*yaml.Node, string){
		"type": func(n *yaml.Node, at string) {
			if v := r.text(n, at); !slices.Contains([]string{keysStatic, keysURL, keysOIDC}, v) {
				r.fault(n, at, "%q is not a way to know a cluster's keys here; want %s, %s or %s", v, keysStatic, keysURL, keysOIDC)
			}
		},
		"jwks_url": func(n *yaml.Node, at string) {
			r.fields(n, at, map[string]func(*yaml.Node, string){
				"url": func(n *yaml.Node, at string) { cluster.JWKSURL = r.text(n, at) },
				"ca":  func(n *yaml.Node, at string) { cluster.CA = r.text(n, at) },
			}, nil)
		},
		"oidc": func(n *yaml.Node, at string) {
			r.fields(n, at, map[string]func(*yaml.Node, string){
				"issuer": func(n *yaml.Node, at string) { cluster.Issuer = r.text(n, at) },
				"ca":     func(n *yaml.Node, at string) { cluster.CA = r.text(n, at) },
				"insecure_allow_http_issuer": func(n *yaml.Node, at string) {
					if r.flag(n, at) {
						r.fault(n, at, "an issuer that is not reached by HTTPS proves nothing")
					}
				},
			}, nil)
		},
		"static_jwks": func(n *yaml.Node, at string) {
			r.fields(n, at, map[string]func(*yaml.Node, string){
				"jwks": func(n *yaml.Node, at string) { cluster.JWKS = r.text(n, at) },
			}, nil)
		},
		"issuer":   func(n *yaml.Node, at string) { cluster.Issuer = r.text(n, at) },
		"audience": func(n *yaml.Node, at string) { cluster.Audience = r.text(n, at) },
	}, nil)
}

// Types of ways to know a cluster's keys, of which two are Teleport's.
const (
	keysStatic = "static_jwks"
	keysURL    = "jwks_url"
	keysOIDC   = "oidc"
)

// The form in which tokens are written.
type (
	writtenToken struct {
		Roles        []string           `yaml:"roles" json:"roles"`
		JoinMethod   string             `yaml:"join_method" json:"join_method"`
		SecretSHA256 string             `yaml:"secret_sha256,omitempty" json:"secret_sha256,omitempty"`
		MaxUses      int                `yaml:"max_uses,omitempty" json:"max_uses,omitempty"`
		Allow        []writtenJoin      `yaml:"allow,omitempty" json:"allow,omitempty"`
		Kubernetes   *writtenKubernetes `yaml:"kubernetes,omitempty" json:"kubernetes,omitempty"`
	}
	writtenJoin struct {
		AWSAccount     string   `yaml:"aws_account,omitempty" json:"aws_account,omitempty"`
		AWSARN         string   `yaml:"aws_arn,omitempty" json:"aws_arn,omitempty"`
		AWSRegions     []string `yaml:"aws_regions,omitempty" json:"aws_regions,omitempty"`
		ServiceAccount string   `yaml:"service_account,omitempty" json:"service_account,omitempty"`
	}
	writtenKubernetes struct {
		Type       string         `yaml:"type" json:"type"`
		StaticJWKS *writtenJWKS   `yaml:"static_jwks,omitempty" json:"static_jwks,omitempty"`
		JWKSURL    *writtenURL    `yaml:"jwks_url,omitempty" json:"jwks_url,omitempty"`
		OIDC       *writtenIssuer `yaml:"oidc,omitempty" json:"oidc,omitempty"`
		Issuer     string         `yaml:"issuer,omitempty" json:"issuer,omitempty"`
		Audience   string         `yaml:"audience,omitempty" json:"audience,omitempty"`
	}
	writtenURL struct {
		URL string `yaml:"url" json:"url"`
		CA  string `yaml:"ca,omitempty" json:"ca,omitempty"`
	}
	writtenIssuer struct {
		Issuer string `yaml:"issuer" json:"issuer"`
		CA     string `yaml:"ca,omitempty" json:"ca,omitempty"`
	}
	writtenJWKS struct {
		JWKS string `yaml:"jwks" json:"jwks"`
	}
)

func writeToken(t *events.JoinToken) writtenToken {
	w := writtenToken{JoinMethod: t.Method, SecretSHA256: t.SecretSHA256, MaxUses: t.MaxUses}
	for _, k := range t.Kinds {
		w.Roles = append(w.Roles, strings.ToUpper(k[:1])+k[1:])
	}
	for _, a := range t.AWS {
		w.Allow = append(w.Allow, writtenJoin{AWSAccount: a.Account, AWSARN: a.ARN, AWSRegions: slices.Clone(a.Regions)})
	}
	if k := t.Kubernetes; k != nil {
		w.Kubernetes = &writtenKubernetes{Audience: k.Audience, Issuer: k.Issuer}
		switch w := w.Kubernetes; {
		case k.JWKS != "":
			w.Type, w.StaticJWKS = keysStatic, &writtenJWKS{k.JWKS}
		case k.JWKSURL != "":
			w.Type, w.JWKSURL = keysURL, &writtenURL{k.JWKSURL, k.CA}
		default:
			w.Type, w.OIDC, w.Issuer = keysOIDC, &writtenIssuer{k.Issuer, k.CA}, ""
		}
		for _, a := range k.ServiceAccounts {
			w.Allow = append(w.Allow, writtenJoin{ServiceAccount: a})
		}
	}
	return w
}
