package sts_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/posternhq/postern/proxy/sts"
	"github.com/posternhq/postern/proxy/sts/ststest"
)

const baseSecret = "base-secret-not-real"

// The default chain is the SDK's: environment, shared files with AWS_PROFILE, the
// container's service with its token file, the instance's in version 2 only.
func TestDefaultChain(t *testing.T) {
	answer := func(w http.ResponseWriter) {
		fmt.Fprintf(w, `{"Code":"Success","Type":"AWS-HMAC","AccessKeyId":%q,"SecretAccessKey":%q,"Token":"","Expiration":%q}`,
			ststest.BaseKey, baseSecret, time.Now().Add(time.Hour).UTC().Format(time.RFC3339))
	}
	serve := func(t *testing.T, h http.HandlerFunc) string {
		s := httptest.NewServer(h)
		t.Cleanup(s.Close)
		return s.URL
	}
	write := func(t *testing.T, text string) string {
		file := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	keys := "aws_access_key_id = " + ststest.BaseKey + "\naws_secret_access_key = " + baseSecret + "\n"
	for name, set := range map[string]func(*testing.T) map[string]string{
		"environment": func(*testing.T) map[string]string {
			return map[string]string{"AWS_ACCESS_KEY_ID": ststest.BaseKey, "AWS_SECRET_ACCESS_KEY": baseSecret}
		},
		"shared credentials": func(t *testing.T) map[string]string {
			return map[string]string{"AWS_SHARED_CREDENTIALS_FILE": write(t, "[default]\n"+keys)}
		},
		"shared configuration and AWS_PROFILE": func(t *testing.T) map[string]string {
			return map[string]string{"AWS_CONFIG_FILE": write(t, "[profile proxy]\n"+keys), "AWS_PROFILE": "proxy"}
		},
		"container": func(t *testing.T) map[string]string {
			url := serve(t, func(w http.ResponseWriter, r *http.Request) {
				if r.Header.Get("Authorization") != "the token" {
					http.Error(w, "{}", http.StatusUnauthorized)
					return
				}
				answer(w)
			})
			return map[string]string{"AWS_CONTAINER_CREDENTIALS_FULL_URI": url + "/creds", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": write(t, "the token")}
		},
		"instance": func(t *testing.T) map[string]string {
			url := serve(t, func(w http.ResponseWriter, r *http.Request) {
				const role = "/latest/meta-data/iam/security-credentials/"
				switch {
				case r.Method == http.MethodPut && r.URL.Path == "/latest/api/token":
					w.Header().Set("X-Aws-Ec2-Metadata-Token-Ttl-Seconds", "21600")
					fmt.Fprint(w, "v2")
				case r.Header.Get("X-Aws-Ec2-Metadata-Token") != "v2":
					http.Error(w, "version 1", http.StatusUnauthorized)
				case r.URL.Path == role:
					fmt.Fprint(w, "proxy")
				case r.URL.Path == role+"proxy":
					answer(w)
				default:
					http.NotFound(w, r)
				}
			})
			return map[string]string{"AWS_EC2_METADATA_DISABLED": "", "AWS_EC2_METADATA_SERVICE_ENDPOINT": url}
		},
	} {
		t.Run(name, func(t *testing.T) {
			bare(t)
			for k, v := range set(t) {
				t.Setenv(k, v)
			}
			r := newRig(t, func(c *sts.Config, _ *ststest.AWS) { c.Base = nil })
			r.get(t, r.session("s", time.Hour))
			if bad := r.aws.Violations(); len(bad) > 0 {
				t.Error(bad)
			}
		})
	}
}

// bare is an environment without credentials.
func bare(t *testing.T) {
	t.Helper()
	for _, name := range []string{
		"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_WEB_IDENTITY_TOKEN_FILE",
		"AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_REGION", "AWS_DEFAULT_REGION",
		"AWS_USE_FIPS_ENDPOINT", "AWS_USE_DUALSTACK_ENDPOINT",
	} {
		t.Setenv(name, "")
	}
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	t.Setenv("AWS_CONFIG_FILE", filepath.Join(t.TempDir(), "config"))
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", filepath.Join(t.TempDir(), "credentials"))
}

// STS is asked where the session's app is, else where the proxy is, else where the
// partition is at home; at its FIPS endpoint where the environment wants that.
func TestEndpoint(t *testing.T) {
	for name, c := range map[string]struct {
		env               map[string]string
		partition, region string
		want              string
	}{
		"the app's region":   {map[string]string{"AWS_REGION": "us-west-2"}, "aws", "eu-west-1", "sts.eu-west-1.amazonaws.com"},
		"the proxy's region": {map[string]string{"AWS_REGION": "us-west-2"}, "aws", "", "sts.us-west-2.amazonaws.com"},
		"GovCloud by region": {map[string]string{"AWS_REGION": "us-gov-east-1"}, "aws-us-gov", "", "sts.us-gov-east-1.amazonaws.com"},
		"China by region":    {map[string]string{"AWS_REGION": "cn-northwest-1"}, "aws-cn", "", "sts.cn-northwest-1.amazonaws.com.cn"},
		"home":               {nil, "aws", "", "sts.us-east-1.amazonaws.com"},
		"home of China":      {nil, "aws-cn", "", "sts.cn-north-1.amazonaws.com.cn"},
		"home of GovCloud":   {nil, "aws-us-gov", "", "sts.us-gov-west-1.amazonaws.com"},
		"FIPS":               {map[string]string{"AWS_USE_FIPS_ENDPOINT": "true"}, "aws", "us-east-2", "sts-fips.us-east-2.amazonaws.com"},
	} {
		t.Run(name, func(t *testing.T) {
			bare(t)
			for k, v := range c.env {
				t.Setenv(k, v)
			}
			r := newRig(t)
			s := r.session("s", time.Hour)
			s.Region, s.Partition = c.region, c.partition
			r.get(t, s)
			if got := r.aws.Calls("AssumeRole")[0].Get("Host"); got != c.want {
				t.Errorf("STS at %s, want %s", got, c.want)
			}
		})
	}
}
