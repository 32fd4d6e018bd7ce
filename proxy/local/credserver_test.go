package local_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/posternhq/postern/deploy/embedded/embeddedtest"
	"github.com/posternhq/postern/proxy/local"
)

// credentialServer runs one and counts what it fetches.
func credentialServer(t *testing.T, metadata bool, life time.Duration) (base string, vars map[string]string, fetched *atomic.Int64, dir string) {
	t.Helper()
	fetched, dir = new(atomic.Int64), filepath.Join(t.TempDir(), "creds")
	s, err := local.NewCredentialServer(local.CredentialServerConfig{
		Metadata: metadata, Role: "Deploy", Dir: dir,
		Fetch: func(context.Context) (local.Exported, error) {
			if fetched.Add(1) > 2 {
				return local.Exported{}, errors.New("session s is over")
			}
			return local.Exported{AccessKeyID: "ASIA1", SecretAccessKey: "secret", SessionToken: "token", Expires: time.Now().Add(life)}, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	embeddedtest.Run(t, s)
	vars = map[string]string{}
	for _, v := range s.Env() {
		vars[v.Name] = v.Value
	}
	base = vars["AWS_EC2_METADATA_SERVICE_ENDPOINT"]
	if !metadata {
		base = strings.TrimSuffix(vars["AWS_CONTAINER_CREDENTIALS_FULL_URI"], "/v1/credentials")
	}
	return base, vars, fetched, dir
}

func fetch(t *testing.T, method, url string, change func(*http.Request)) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(req)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

func TestContainerCredentials(t *testing.T) {
	base, vars, fetched, dir := credentialServer(t, false, time.Hour)
	file := vars["AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"]
	info, err := os.Stat(file)
	if err != nil || info.Mode().Perm() != 0o600 || filepath.Dir(file) != dir {
		t.Fatalf("%s: %v %v", file, info, err)
	}
	token, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	with := func(more func(*http.Request)) func(*http.Request) {
		return func(r *http.Request) {
			r.Header.Set("Authorization", string(token))
			if more != nil {
				more(r)
			}
		}
	}
	url := base + "/v1/credentials"
	for range 3 {
		if status, body := fetch(t, "GET", url, with(nil)); status != 200 || !strings.Contains(body, `"AccessKeyId":"ASIA1"`) || !strings.Contains(body, `"Expiration":"`) {
			t.Errorf("%d %s", status, body)
		}
	}
	if n := fetched.Load(); n != 1 {
		t.Errorf("fetched %d times", n)
	}
	for name, c := range map[string]struct {
		method, url string
		change      func(*http.Request)
	}{
		"no token":            {"GET", url, nil},
		"another token":       {"GET", url, func(r *http.Request) { r.Header.Set("Authorization", "x") }},
		"by a name":           {"GET", url, with(func(r *http.Request) { r.Host = "attacker.example" })},
		"sent on":             {"GET", url, with(func(r *http.Request) { r.Header.Set("X-Forwarded-For", "192.0.2.1") })},
		"by a browser's page": {"GET", url, with(func(r *http.Request) { r.Header.Set("Origin", "http://127.0.0.1") })},
		"metadata": {"PUT", base + "/latest/api/token", with(func(r *http.Request) {
			r.Header.Set("X-aws-ec2-metadata-token-ttl-seconds", "60")
		})},
	} {
		if status, body := fetch(t, c.method, c.url, c.change); status < 400 || strings.Contains(body, "secret") {
			t.Errorf("%s: %d %s", name, status, body)
		}
	}
}

// Near their end new ones are fetched; where there are none, the old ones serve
// until they end.
func TestContainerCredentialsRenewed(t *testing.T) {
	_, vars, fetched, _ := credentialServer(t, false, 9*time.Minute)
	token, err := os.ReadFile(vars["AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"])
	if err != nil {
		t.Fatal(err)
	}
	for i := range 4 {
		status, body := fetch(t, "GET", vars["AWS_CONTAINER_CREDENTIALS_FULL_URI"], func(r *http.Request) { r.Header.Set("Authorization", string(token)) })
		if status != 200 || fetched.Load() != int64(i+1) {
			t.Errorf("ask %d: %d %s, fetched %d times", i, status, body, fetched.Load())
		}
	}
}

func TestMetadataCredentials(t *testing.T) {
	base, _, _, dir := credentialServer(t, true, time.Hour)
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("a token on disk that no client asks for: %v", err)
	}
	const roles = "/latest/meta-data/iam/security-credentials/"
	if status, _ := fetch(t, "GET", base+roles+"Deploy", nil); status != 401 {
		t.Errorf("version 1: %d", status)
	}
	ttl := func(v string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set("X-aws-ec2-metadata-token-ttl-seconds", v) }
	}
	for _, v := range []string{"", "0", "21601", "x"} {
		if status, _ := fetch(t, "PUT", base+"/latest/api/token", ttl(v)); status != 400 {
			t.Errorf("token for %q s: %d", v, status)
		}
	}
	_, token := fetch(t, "PUT", base+"/latest/api/token", ttl("60"))
	with := func(r *http.Request) { r.Header.Set("X-aws-ec2-metadata-token", token) }
	if status, body := fetch(t, "GET", base+roles, with); status != 200 || body != "Deploy" {
		t.Errorf("%d %s", status, body)
	}
	if status, body := fetch(t, "GET", base+roles+"Deploy", with); status != 200 || !strings.Contains(body, `"Code":"Success"`) || !strings.Contains(body, `"AccessKeyId":"ASIA1"`) {
		t.Errorf("%d %s", status, body)
	}
	if status, _ := fetch(t, "GET", base+"/v1/credentials", with); status != 404 {
		t.Errorf("the container's way: %d", status)
	}
	for _, other := range []string{"9" + token, "0." + token, token + "0", ""} {
		token = other
		if status, _ := fetch(t, "GET", base+roles, with); status != 401 {
			t.Errorf("token %q: %d", other, status)
		}
	}
}

// Only loopback is listened on.
func TestCredentialServerStaysHome(t *testing.T) {
	_, err := local.NewCredentialServer(local.CredentialServerConfig{Listen: "0.0.0.0:0", Dir: t.TempDir(), Fetch: func(context.Context) (local.Exported, error) { return local.Exported{}, nil }})
	if err == nil || !strings.Contains(err.Error(), "not a loopback address") {
		t.Error(err)
	}
}

// Whoever has the seed has the keys, and nobody else.
func TestKeySeed(t *testing.T) {
	keys := func(seed, session string) string {
		h, err := local.New(local.Config{ProxyAddr: "127.0.0.1:1", ProxyTLS: &tls.Config{}, Dir: t.TempDir(), KeySeed: []byte(seed), Sessions: []local.Session{{ID: session}}})
		if err != nil {
			t.Fatal(err)
		}
		return value(t, h.Env(), "AWS_ACCESS_KEY_ID") + " " + value(t, h.Env(), "AWS_SECRET_ACCESS_KEY")
	}
	first := keys("seed", "s")
	if keys("seed", "s") != first {
		t.Error("one seed and session, other keys")
	}
	for _, other := range []string{keys("seed", "t"), keys("seen", "s"), keys("", "s"), keys("", "s")} {
		if other == first {
			t.Error("another seed or session, the same keys")
		}
	}
}
