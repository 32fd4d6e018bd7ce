package joining_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"
	"github.com/smallstep/pkcs7"

	"github.com/posternhq/postern/broker/access"
	"github.com/posternhq/postern/broker/api"
	"github.com/posternhq/postern/broker/joining"
	"github.com/posternhq/postern/deploy/embedded/embeddedtest"
	"github.com/posternhq/postern/deploy/simaws"
	"github.com/posternhq/postern/events"
)

var at = time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)

const account = "123456789012"

// refused checks that an error says why.
func refused(t *testing.T, what string, err error, want string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%s: %v, want %q", what, err, want)
	}
}

func csr(t *testing.T) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))
}

func TestChallenge(t *testing.T) {
	c := joining.NewChallenger(make([]byte, 32))
	one, two := c.New(at), c.New(at)
	if one == two {
		t.Error("two challenges are the same")
	}
	if err := joining.NewChallenger(make([]byte, 32)).Check(one, at.Add(time.Minute)); err != nil {
		t.Errorf("another broker's, with the same key: %v", err)
	}
	refused(t, "late", c.Check(one, at.Add(3*time.Minute)), "is over")
	refused(t, "another key", joining.NewChallenger([]byte("x")).Check(one, at), "not this broker's")
	flipped := []byte(one)
	flipped[3] ^= 1
	for _, bad := range []string{"", "x", one[:40], one + "AA", string(flipped)} {
		refused(t, bad, c.Check(bad, at), "not this broker's")
	}
	a, err := joining.Bind(one, csr(t))
	if err != nil {
		t.Fatal(err)
	}
	if b, err := joining.Bind(one, csr(t)); err != nil || a == b {
		t.Errorf("bound to two keys it is the same: %v", err)
	}
}

// The simulated STS answers for whoever signed; nothing but a good signature
// over this challenge and key, sent to AWS's own host, counts.
func TestIAM(t *testing.T) {
	sim, err := simaws.New(simaws.Config{Dir: t.TempDir(), Log: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	embeddedtest.Run(t, sim)
	key, err := sim.AccessKey(account, "proxy")
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(sim.CAPEM())
	var asked []string
	v := joining.IAM{Client: &http.Client{Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: roots},
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			asked = append(asked, addr)
			return (&net.Dialer{}).DialContext(ctx, network, sim.Addr())
		},
	}}}
	const bound = "challenge.key"
	sign := func(secret, region string, change func(*http.Request)) api.JoinIAM {
		t.Helper()
		req, err := joining.NewCallerIdentity(t.Context(), region)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set(joining.ChallengeHeader, bound)
		if change != nil {
			change(req)
		}
		sum := sha256.Sum256([]byte(joining.CallerIdentityBody))
		if err := v4.NewSigner().SignHTTP(t.Context(), aws.Credentials{AccessKeyID: key.ID, SecretAccessKey: secret}, req, hex.EncodeToString(sum[:]), "sts", region, time.Now()); err != nil {
			t.Fatal(err)
		}
		in := api.JoinIAM{Region: region, Headers: map[string]string{}}
		for _, h := range []string{"Authorization", "X-Amz-Date", joining.ChallengeHeader} {
			if x := req.Header.Get(h); x != "" {
				in.Headers[h] = x
			}
		}
		return in
	}
	for region, host := range map[string]string{
		"us-east-1": "sts.us-east-1.amazonaws.com:443", "cn-north-1": "sts.cn-north-1.amazonaws.com.cn:443",
		"us-gov-west-1": "sts.us-gov-west-1.amazonaws.com:443", "eu-central-2": "sts.eu-central-2.amazonaws.com:443",
	} {
		asked = nil
		got, err := v.Verify(t.Context(), sign(key.Secret, region, nil), bound)
		partitioned := strings.HasPrefix(region, "cn-") || strings.HasPrefix(region, "us-gov-")
		if err == nil {
			want := access.Proof{Method: access.MethodIAM, Account: account, ARN: "arn:aws:iam::" + account + ":user/proxy"}
			if partitioned {
				want.ARN = got.ARN // the simulator's key is of one partition
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("%s: %s", region, d)
			}
		} else if !partitioned {
			t.Errorf("%s: %v", region, err)
		}
		if len(asked) != 1 || asked[0] != host {
			t.Errorf("%s: asked %v, want %s", region, asked, host)
		}
	}

	asked = nil
	good := sign(key.Secret, "us-east-1", nil)
	with := func(name, value string) api.JoinIAM {
		in := api.JoinIAM{Region: good.Region, Headers: map[string]string{}}
		for k, v := range good.Headers {
			in.Headers[k] = v
		}
		in.Headers[name] = value
		return in
	}
	for name, c := range map[string]struct {
		in    api.JoinIAM
		bound string
		want  string
	}{
		"another challenge":    {good, "other.key", "another challenge"},
		"challenge not signed": {sign(key.Secret, "us-east-1", func(r *http.Request) { r.Header.Del(joining.ChallengeHeader) }), bound, "another challenge"},
		"challenge added later": {func() api.JoinIAM {
			in := sign(key.Secret, "us-east-1", func(r *http.Request) { r.Header.Del(joining.ChallengeHeader) })
			in.Headers[joining.ChallengeHeader] = bound
			return in
		}(), bound, "leaves x-postern-challenge out"},
		"a host of their own":      {with("Host", "evil.example.com"), bound, "header Host has no place"},
		"a header more":            {with("X-Amz-Target", "x"), bound, "has no place"},
		"a region that is a host":  {api.JoinIAM{Region: "x.evil.example.com/", Headers: good.Headers}, bound, "not an AWS region"},
		"a region with a host":     {api.JoinIAM{Region: "us-east-1.evil.com", Headers: good.Headers}, bound, "not an AWS region"},
		"another authorization":    {with("Authorization", "Bearer x"), bound, "not Signature Version 4"},
		"two lists of what signed": {with("Authorization", strings.Replace(good.Headers["Authorization"], "SignedHeaders=", "SignedHeaders=host;x-postern-challenge, SignedHeaders=", 1)), bound, "not Signature Version 4"},
	} {
		_, err := v.Verify(t.Context(), c.in, c.bound)
		refused(t, name, err, c.want)
	}
	if asked != nil {
		t.Errorf("asked %v for what is refused at once", asked)
	}
	_, err = v.Verify(t.Context(), sign("not the secret", "us-east-1", nil), bound)
	refused(t, "a wrong secret", err, "SignatureDoesNotMatch")
}

// region makes a certificate as a region of AWS has one, and its key.
func region(t *testing.T, serial int64) (*x509.Certificate, *rsa.PrivateKey) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(serial), Subject: pkix.Name{Organization: []string{"Amazon Web Services LLC"}},
		NotBefore: at.Add(-time.Hour), NotAfter: at.AddDate(20, 0, 0)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert, key
}

// document signs an identity document as IMDS serves it.
func document(t *testing.T, cert *x509.Certificate, key *rsa.PrivateKey, pending time.Time) string {
	t.Helper()
	doc := fmt.Sprintf(`{"accountId":"%s","instanceId":"i-0123456789abcdef0","region":"us-east-1","pendingTime":"%s","imageId":"ami-1","version":"2017-09-30"}`,
		account, pending.Format(time.RFC3339))
	s, err := pkcs7.NewSignedData([]byte(doc))
	if err != nil {
		t.Fatal(err)
	}
	s.SetDigestAlgorithm(pkcs7.OIDDigestAlgorithmSHA256)
	if err := s.AddSigner(cert, key, pkcs7.SignerInfoConfig{}); err != nil {
		t.Fatal(err)
	}
	der, err := s.Finish()
	if err != nil {
		t.Fatal(err)
	}
	text := base64.StdEncoding.EncodeToString(der)
	return text[:64] + "\n" + text[64:] // IMDS breaks lines
}

func TestEC2(t *testing.T) {
	cert, key := region(t, 1)
	other, _ := region(t, 2)
	v := joining.EC2{Certificates: []*x509.Certificate{other, cert}}
	good := document(t, cert, key, at.Add(-time.Minute))
	got, err := v.Verify(good, at)
	if err != nil {
		t.Fatal(err)
	}
	want := access.Proof{Method: access.MethodEC2, Account: account, Region: "us-east-1", Instance: "i-0123456789abcdef0"}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	// A certificate that looks the same, of another key, that comes along with it.
	forgedCert, forgedKey := region(t, 1)
	raw, err := base64.StdEncoding.DecodeString(strings.ReplaceAll(good, "\n", ""))
	if err != nil {
		t.Fatal(err)
	}
	changed := base64.StdEncoding.EncodeToString([]byte(strings.Replace(string(raw), account, "999999999999", 1)))
	for name, c := range map[string]struct {
		text, want string
		now        time.Time
	}{
		"an old instance":   {good, "ago; it may join for 5m0s", at.Add(5 * time.Minute)},
		"one of the future": {good, "ago; it may join", at.Add(-3 * time.Minute)},
		"forged":            {document(t, forgedCert, forgedKey, at), "none of the known certificates", at},
		"another account":   {changed, "none of the known certificates", at},
		"not base64":        {"!", "not base64", at},
		"not a signature":   {"aGVsbG8=", "the signature", at},
		"nothing":           {"", "the signature", at},
	} {
		_, err := v.Verify(c.text, c.now)
		refused(t, name, err, c.want)
	}
	_, err = joining.EC2{}.Verify(good, at)
	refused(t, "by the published certificate of us-east-1", err, "none of the known certificates")
	for _, name := range []string{"us-moon-1", "", "../ec2/us-east-1"} {
		_, err = joining.Published(name)
		refused(t, "region "+name, err, "broker.ec2_certificates")
	}
	if _, err := (joining.EC2{Certificates: v.Certificates, MaxAge: time.Hour}).Verify(good, at.Add(30*time.Minute)); err != nil {
		t.Errorf("within an hour: %v", err)
	}
}

// What AWS publishes is a certificate a region, each of a key of its own.
func TestPublishedCertificates(t *testing.T) {
	files, err := filepath.Glob("ec2/*.pem")
	if err != nil || len(files) < 33 {
		t.Fatal(len(files), err)
	}
	keys := map[string]string{}
	for _, f := range files {
		name := strings.TrimSuffix(filepath.Base(f), ".pem")
		certs, err := joining.Published(name)
		if err != nil || len(certs) != 1 {
			t.Errorf("%s: %d certificates, %v", name, len(certs), err)
			continue
		}
		c := certs[0]
		key, ok := c.PublicKey.(*rsa.PublicKey)
		if !ok || key.N.BitLen() != 2048 {
			t.Errorf("%s: not a key of RSA-2048", name)
			continue
		}
		if err := c.CheckSignature(c.SignatureAlgorithm, c.RawTBSCertificate, c.Signature); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		const subject = "O=Amazon Web Services LLC,L=Seattle,ST=Washington State,C=US"
		if c.Subject.String() != subject || c.Issuer.String() != subject || c.NotBefore.Year() < 2015 || c.NotAfter.Year() < 2195 {
			t.Errorf("%s: of %s, from %s to %s", name, c.Subject, c.NotBefore, c.NotAfter)
		}
		if other := keys[key.N.String()]; other != "" {
			t.Errorf("%s and %s have one key", name, other)
		}
		keys[key.N.String()] = name
	}
}

func FuzzEC2(f *testing.F) {
	f.Add("")
	f.Add("MIIB")
	cert := &x509.Certificate{}
	f.Fuzz(func(t *testing.T, s string) {
		if p, err := (joining.EC2{Certificates: []*x509.Certificate{cert}}).Verify(s, at); err == nil {
			t.Errorf("taken: %+v", p)
		}
	})
}

func TestKubernetes(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	jwks, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "k1", Algorithm: "ES256", Use: "sig"}}})
	if err != nil {
		t.Fatal(err)
	}
	k := events.JoinKubernetes{JWKS: string(jwks), Issuer: "https://kubernetes.default.svc", Audience: "postern", ServiceAccounts: []string{"ns:proxy"}}
	sign := func(with any, alg jose.SignatureAlgorithm, change func(*jwt.Claims)) string {
		t.Helper()
		s, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: with}, (&jose.SignerOptions{}).WithHeader("kid", "k1"))
		if err != nil {
			t.Fatal(err)
		}
		c := jwt.Claims{Issuer: k.Issuer, Subject: "system:serviceaccount:ns:proxy", Audience: jwt.Audience{"postern"},
			IssuedAt: jwt.NewNumericDate(at), NotBefore: jwt.NewNumericDate(at), Expiry: jwt.NewNumericDate(at.Add(time.Hour))}
		if change != nil {
			change(&c)
		}
		text, err := jwt.Signed(s).Claims(c).Serialize()
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	good := sign(key, jose.ES256, nil)
	var clusters joining.Clusters
	got, err := clusters.Verify(t.Context(), k, good+"\n", at.Add(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(access.Proof{Method: access.MethodKubernetes, Cluster: access.ClusterOf(k), ServiceAccount: "ns:proxy"}, got); d != "" {
		t.Error(d)
	}
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	body := strings.Split(good, ".")
	none := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none","kid":"k1"}`)) + "." + body[1] + "."
	for name, c := range map[string]struct{ text, want string }{
		"of a stranger":        {sign(stranger, jose.ES256, nil), "none of the cluster's keys"},
		"unsigned":             {none, "the JWT"},
		"signed by the public": {sign(public, jose.HS256, nil), "the JWT"},
		"another audience":     {sign(key, jose.ES256, func(c *jwt.Claims) { c.Audience = jwt.Audience{"vault"} }), "aud"},
		"no audience":          {sign(key, jose.ES256, func(c *jwt.Claims) { c.Audience = nil }), "aud"},
		"another issuer":       {sign(key, jose.ES256, func(c *jwt.Claims) { c.Issuer = "https://other" }), "iss"},
		"expired":              {sign(key, jose.ES256, func(c *jwt.Claims) { c.Expiry = jwt.NewNumericDate(at.Add(-5 * time.Minute)) }), "exp"},
		"not yet":              {sign(key, jose.ES256, func(c *jwt.Claims) { c.NotBefore = jwt.NewNumericDate(at.Add(10 * time.Minute)) }), "nbf"},
		"for ever":             {sign(key, jose.ES256, func(c *jwt.Claims) { c.Expiry = nil }), "lives longer"},
		"for a year":           {sign(key, jose.ES256, func(c *jwt.Claims) { c.Expiry = jwt.NewNumericDate(at.Add(8760 * time.Hour)) }), "lives longer"},
		"of a user":            {sign(key, jose.ES256, func(c *jwt.Claims) { c.Subject = "alice" }), "not of a service account"},
		"changed":              {body[0] + "." + body[1][:len(body[1])-4] + "AAAA." + body[2], "none of the cluster's keys"},
		"nothing":              {"", "the JWT"},
	} {
		_, err := clusters.Verify(t.Context(), k, c.text, at.Add(time.Minute))
		refused(t, name, err, c.want)
	}
}
