// Package ststest is a stand-in for AWS in the tests of proxy and proxy/sts: one
// TLS listener that is any AWS host, checks every signature with the signer of
// aws-sdk-go-v2, assumes roles, opens consoles, and hands every other request
// to the test.
package ststest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"

	"github.com/posternhq/postern/proxy/sts"
)

// The long-term key of the principal that postern runs as.
const (
	BaseKey    = "AKIAPOSTERNPROXYBASE"
	baseSecret = "base-secret-not-real"
	BaseARN    = "arn:aws:iam::999988887777:user/postern-proxy"
)

// Key is a credential that the stand-in knows.
type Key struct {
	ID, Secret, Token string
	// ARN is the principal, Session the role session's name.
	ARN, Session string
	Expires      time.Time // zero: never
}

// Refusal is an error that the stand-in answers with.
type Refusal struct {
	Status        int
	Code, Message string
}

// AWS is the stand-in. Set the fields before the first request.
type AWS struct {
	// Serve answers what is neither STS nor sign-in; the signature has been checked.
	Serve func(w http.ResponseWriter, r *http.Request, k Key)
	// Assume decides AssumeRole; nil allows all.
	Assume func(form url.Values) *Refusal
	// Gives, if it has a secret, is the key that every AssumeRole gives, rather than one
	// of its own: for servers that know no other.
	Gives Key
	// Lifetime overrides what AssumeRole is asked for, if not zero.
	Lifetime time.Duration
	Clock    func() time.Time
	// Lax leaves out the check of signatures of what Serve answers, and lets clients
	// in that reach it by its address: for benchmarks, whose subject is not the
	// stand-in.
	Lax bool
	// Presigned leaves the check of presigned URLs to Serve.
	Presigned bool

	srv   *httptest.Server
	roots *x509.CertPool
	ca    []byte
	mu    sync.Mutex
	keys  map[string]Key
	calls map[string][]url.Values
	bad   []string
}

// Start runs a stand-in until the test ends.
func Start(t testing.TB) *AWS {
	t.Helper()
	a := &AWS{
		Clock: time.Now,
		keys:  map[string]Key{BaseKey: {ID: BaseKey, Secret: baseSecret, ARN: BaseARN}},
		calls: map[string][]url.Values{},
	}
	cert := a.certificate(t)
	a.srv = httptest.NewUnstartedServer(http.HandlerFunc(a.serve))
	a.srv.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
	a.srv.EnableHTTP2 = true
	a.srv.StartTLS()
	t.Cleanup(a.srv.Close)
	return a
}

// Link leads to the stand-in.
func (a *AWS) Link() sts.Link {
	return sts.Link{Dial: a.srv.Listener.Addr().String(), RootCAs: a.roots}
}

// CA is the authority to trust for Link, as PEM.
func (a *AWS) CA() []byte { return a.ca }

// Base gives the long-term credentials that postern runs with.
func (a *AWS) Base() aws.CredentialsProvider {
	return credentials.NewStaticCredentialsProvider(BaseKey, baseSecret, "")
}

// Temporary gives base credentials of an assumed role, which make role chaining.
func (a *AWS) Temporary() aws.CredentialsProvider {
	k := Key{ID: "ASIAPOSTERNPROXYBASE", Secret: "temporary-secret", Token: "temporary-token", ARN: "arn:aws:sts::999988887777:assumed-role/postern/i-1"}
	a.mu.Lock()
	a.keys[k.ID] = k
	a.mu.Unlock()
	return credentials.NewStaticCredentialsProvider(k.ID, k.Secret, k.Token)
}

// Calls are the parameters of the calls of an action, in order.
func (a *AWS) Calls(action string) []url.Values {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]url.Values(nil), a.calls[action]...)
}

// Violations lists what was wrong with signatures that came in.
func (a *AWS) Violations() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]string(nil), a.bad...)
}

// Know adds a credential.
func (a *AWS) Know(k Key) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.keys[k.ID] = k
}

func (a *AWS) key(id string) Key {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.keys[id]
}

func (a *AWS) serve(w http.ResponseWriter, r *http.Request) {
	host, _, err := net.SplitHostPort(r.Host)
	if err != nil {
		host = r.Host
	}
	if r.TLS.ServerName != host && !(a.Lax && r.TLS.ServerName == "") {
		http.Error(w, "SNI "+r.TLS.ServerName+" for host "+host, http.StatusMisdirectedRequest)
		return
	}
	if r.URL.Path == "/federation" {
		a.federate(w, r)
		return
	}
	if a.Lax && !strings.HasPrefix(host, "sts.") {
		a.Serve(w, r, Key{})
		return
	}
	k, err := a.verify(r)
	if err != nil {
		a.mu.Lock()
		a.bad = append(a.bad, fmt.Sprintf("%s %s%s: %v", r.Method, r.Host, r.RequestURI, err))
		a.mu.Unlock()
		http.Error(w, "<Error><Code>SignatureDoesNotMatch</Code><Message>"+err.Error()+"</Message></Error>", http.StatusForbidden)
		return
	}
	if strings.HasPrefix(host, "sts.") || strings.HasPrefix(host, "sts-fips.") {
		a.sts(w, r, k)
		return
	}
	a.Serve(w, r, k)
}

func (a *AWS) sts(w http.ResponseWriter, r *http.Request, k Key) {
	if err := r.ParseForm(); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	f := r.Form
	f.Set("Host", r.Host)
	action := f.Get("Action")
	a.mu.Lock()
	a.calls[action] = append(a.calls[action], f)
	n := len(a.calls[action])
	a.mu.Unlock()
	w.Header().Set("Content-Type", "text/xml")
	switch action {
	case "GetCallerIdentity":
		fmt.Fprintf(w, `<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><GetCallerIdentityResult><Arn>%s</Arn><UserId>AIDA</UserId><Account>999988887777</Account></GetCallerIdentityResult></GetCallerIdentityResponse>`, k.ARN)
	case "AssumeRole":
		if a.Assume != nil {
			if no := a.Assume(f); no != nil {
				w.WriteHeader(no.Status)
				fmt.Fprintf(w, `<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type><Code>%s</Code><Message>%s</Message></Error><RequestId>r</RequestId></ErrorResponse>`, no.Code, no.Message)
				return
			}
		}
		seconds, err := time.ParseDuration(f.Get("DurationSeconds") + "s")
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		if a.Lifetime != 0 {
			seconds = a.Lifetime
		}
		c := Key{
			ID: fmt.Sprintf("ASIASTANDIN%09d", n), Secret: fmt.Sprintf("secret-%d", n), Token: fmt.Sprintf("token-%d", n),
		}
		if a.Gives.Secret != "" {
			c = a.Gives
		}
		c.ARN, c.Session, c.Expires = f.Get("RoleArn"), f.Get("RoleSessionName"), a.Clock().Add(seconds)
		a.mu.Lock()
		a.keys[c.ID] = c
		a.mu.Unlock()
		fmt.Fprintf(w, `<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult><AssumedRoleUser><AssumedRoleId>AROASTANDIN:%s</AssumedRoleId><Arn>%s</Arn></AssumedRoleUser><Credentials><AccessKeyId>%s</AccessKeyId><SecretAccessKey>%s</SecretAccessKey><SessionToken>%s</SessionToken><Expiration>%s</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>`,
			c.Session, c.ARN, c.ID, c.Secret, c.Token, c.Expires.UTC().Format(time.RFC3339))
	default:
		http.Error(w, "unknown action "+action, http.StatusBadRequest)
	}
}

// federate is the sign-in endpoint.
func (a *AWS) federate(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	q.Set("Host", r.Host)
	a.mu.Lock()
	a.calls["getSigninToken"] = append(a.calls["getSigninToken"], q)
	a.mu.Unlock()
	var s struct{ SessionID, SessionKey, SessionToken string }
	if err := json.Unmarshal([]byte(q.Get("Session")), &s); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if k := a.key(s.SessionID); k.Secret == "" || k.Secret != s.SessionKey || k.Token != s.SessionToken {
		http.Error(w, "bad session", http.StatusForbidden)
		return
	}
	fmt.Fprint(w, `{"SigninToken":"signin-token"}`)
}

// certificate makes a certificate authority and one certificate for the hosts
// of AWS.
func (a *AWS) certificate(t testing.TB) tls.Certificate {
	t.Helper()
	ca := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "stand-in"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), IsCA: true, BasicConstraintsValid: true}
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	leaf := &x509.Certificate{SerialNumber: big.NewInt(2), NotBefore: ca.NotBefore, NotAfter: ca.NotAfter, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	for _, d := range []string{"amazonaws.com", "amazonaws.com.cn", "aws.amazon.com", "amazonaws-us-gov.com", "amazonaws.cn"} {
		leaf.DNSNames = append(leaf.DNSNames, d, "*."+d)
	}
	for _, r := range []string{"us-east-1", "us-east-2", "us-west-2", "eu-west-1", "us-gov-west-1", "us-gov-east-1", "s3.us-east-1", "s3express-use1-az4.us-east-1"} {
		leaf.DNSNames = append(leaf.DNSNames, "*."+r+".amazonaws.com")
	}
	leaf.DNSNames = append(leaf.DNSNames, "*.cn-north-1.amazonaws.com.cn", "*.cn-northwest-1.amazonaws.com.cn")
	leafKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, ca, ca, &caKey.PublicKey, caKey)
	if err != nil {
		t.Fatal(err)
	}
	if ca, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	a.roots = x509.NewCertPool()
	a.roots.AddCert(ca)
	a.ca = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	if der, err = x509.CreateCertificate(rand.Reader, leaf, ca, &leafKey.PublicKey, caKey); err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: leafKey}
}
