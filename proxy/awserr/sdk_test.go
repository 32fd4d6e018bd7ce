package awserr_test

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sso"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"
	"github.com/google/go-cmp/cmp"

	"github.com/posternhq/postern/proxy/awserr"
)

func config(t *testing.T, proxy string) aws.Config {
	t.Helper()
	u, err := url.Parse(proxy)
	if err != nil {
		t.Fatal(err)
	}
	tr := &http.Transport{Proxy: http.ProxyURL(u)}
	t.Cleanup(tr.CloseIdleConnections)
	return aws.Config{
		Region:      "eu-central-1",
		Credentials: credentials.NewStaticCredentialsProvider("AKIAEXAMPLEPOSTERN01", "example-secret-key-not-real-000000000000", ""),
		HTTPClient:  &http.Client{Transport: tr},
	}
}

func calls(t *testing.T, c aws.Config) map[string]func() error {
	return map[string]func() error{
		"s3": func() error {
			_, err := s3.NewFromConfig(c, func(o *s3.Options) { o.EndpointOptions.DisableHTTPS = true }).
				PutObject(t.Context(), &s3.PutObjectInput{Bucket: new("bucket"), Key: new("key"), Body: strings.NewReader("body")})
			return err
		},
		"sts": func() error {
			_, err := sts.NewFromConfig(c, func(o *sts.Options) { o.EndpointOptions.DisableHTTPS = true }).
				GetCallerIdentity(t.Context(), &sts.GetCallerIdentityInput{})
			return err
		},
		"sso": func() error {
			_, err := sso.NewFromConfig(c, func(o *sso.Options) { o.EndpointOptions.DisableHTTPS = true }).
				ListAccounts(t.Context(), &sso.ListAccountsInput{AccessToken: new("token")})
			return err
		},
	}
}

func TestSDKForGo(t *testing.T) {
	url, seen := answer(t, awserr.Error{Code: "AccessDenied", Message: message, RequestID: "01K0REQUEST"})
	for name, call := range calls(t, config(t, url)) {
		before := seen.Load()
		err := call()
		var got smithy.APIError
		if !errors.As(err, &got) {
			t.Errorf("%s: %v is no API error", name, err)
			continue
		}
		if diff := cmp.Diff([]string{"AccessDenied", message}, []string{got.ErrorCode(), got.ErrorMessage()}); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		var re *awshttp.ResponseError
		if !errors.As(err, &re) || re.ServiceRequestID() != "01K0REQUEST" || re.HTTPStatusCode() != 403 {
			t.Errorf("%s: %v lacks the request id or the status", name, err)
		}
		if n := seen.Load() - before; n != 1 {
			t.Errorf("%s: %d requests: a denial must not be retried", name, n)
		}
	}
}

// What a retry can mend is retried.
func TestSDKForGoRetriesUnavailable(t *testing.T) {
	url, seen := answer(t, awserr.Error{Status: 503, Code: "ServiceUnavailable", Message: "proxy restarting"})
	c := config(t, url)
	c.RetryMaxAttempts = 2
	if err := calls(t, c)["sts"](); err == nil || seen.Load() != 2 {
		t.Errorf("error %v after %d requests, want one after 2", err, seen.Load())
	}
}

func TestSDKForGoRetriesThrottling(t *testing.T) {
	url, seen := answer(t, awserr.Error{Code: "throttled", Message: message})
	c := config(t, url)
	c.RetryMaxAttempts = 2
	for name, call := range calls(t, c) {
		before := seen.Load()
		if err := call(); err == nil || seen.Load()-before != 2 {
			t.Errorf("%s: error %v after %d requests, want one after 2", name, err, seen.Load()-before)
		}
	}
}
