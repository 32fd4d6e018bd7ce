package sigv4

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"testing"
	"time"
)

const v2Secret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"

// presignV2 has botocore presign, which is an implementation of another's.
const presignV2 = `
import sys, boto3
from botocore.config import Config
for style in ("virtual", "path"):
    for region in ("us-east-1", "eu-west-1"):
        s3 = boto3.client("s3", region_name=region, aws_access_key_id="AKIAIOSFODNN7EXAMPLE", aws_secret_access_key=sys.argv[1],
                          config=Config(signature_version="s3", s3={"addressing_style": style}))
        for key in ("puppy.jpg", "a b+c%ü/x//y", "..", "?q"):
            for op, more in (("get_object", {}), ("get_object", {"VersionId": "v+1/ =", "ResponseContentType": "text/plain; charset=utf-8"}),
                             ("put_object", {}), ("head_object", {})):
                print(s3.generate_presigned_url(op, Params={"Bucket": "examplebucket", "Key": key, **more}, ExpiresIn=60))
        print(s3.generate_presigned_url("get_object_acl", Params={"Bucket": "s3.dots.here", "Key": "k"}, ExpiresIn=60))
        print(s3.generate_presigned_url("list_objects", Params={"Bucket": "examplebucket", "Prefix": "a b"}, ExpiresIn=60))
`

// What botocore presigns with Signature Version 2 is verified, not when anything
// of it is changed, and goes on with Signature Version 4.
func TestPresignedV2(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "python3", "-c", presignV2, v2Secret).Output()
	if err != nil {
		t.Skipf("needs python3 with boto3: %v", err)
	}
	var v Verifier
	var s Signer
	verify := func(method, link string, now time.Time) (*Authorization, error) {
		r := httptest.NewRequest(method, link, nil)
		r.RequestURI = strings.TrimPrefix(link, "https://"+r.Host)
		a, err := Parse(r)
		if err != nil {
			return nil, err
		}
		return a, v.Verify(r, a, v2Secret, "", now)
	}
	links := strings.Fields(string(out))
	if len(links) != 4*18 {
		t.Fatalf("%d links", len(links))
	}
	for _, link := range links {
		methods := []string{"GET", "PUT", "HEAD"}
		var a *Authorization
		used := ""
		for _, m := range methods {
			if got, err := verify(m, link, time.Now()); err == nil {
				a, used = got, m
			} else if !errors.Is(err, ErrMismatch) {
				t.Errorf("%s %s: %v", m, link, err)
			}
		}
		if a == nil {
			t.Errorf("verified with no method: %s", link)
			continue
		}
		if _, err := verify(used, link, time.Now().Add(2*time.Minute)); !errors.Is(err, ErrExpired) {
			t.Errorf("after its time: %v", err)
		}
		for _, changed := range []string{
			strings.Replace(link, "Expires=", "Expires=1", 1), strings.Replace(link, "?", "x?", 1), link + "&uploads",
			strings.Replace(link, "examplebucket", "examplebuckeT1", 1), link + "&no-such-parameter=1", link + "&Expires=1", link + "&x-amz-acl=public-read",
		} {
			if changed == link {
				continue
			}
			if _, err := verify(used, changed, time.Now()); err == nil {
				t.Errorf("accepted %s, changed from %s", changed, link)
			}
		}
		r := httptest.NewRequest(used, link, nil)
		r.RequestURI = strings.TrimPrefix(link, "https://"+r.Host)
		r = r.WithContext(t.Context())
		signed, err := s.Sign(r, Credentials{AccessKeyID: "ASIAIOSFODNN7EXAMPLE", SecretAccessKey: "other", SessionToken: "tok"}, a, "", time.Now())
		if err != nil || signed.V2 {
			t.Errorf("signing anew: %v", err)
			continue
		}
		if q := r.URL.RawQuery; strings.Contains(q, "AWSAccessKeyId") || strings.Contains(q, "Signature=") {
			t.Errorf("query %s", q)
		}
		again, err := Parse(r)
		if err != nil || again.AccessKeyID != "ASIAIOSFODNN7EXAMPLE" || v.Verify(r, again, "other", "", time.Now()) != nil {
			t.Errorf("signed anew, it does not verify: %v", err)
		}
	}
}

// What is refused, and the example of the S3 API Reference, "REST
// Authentication", which has long expired.
func TestPresignedV2Refused(t *testing.T) {
	for _, x := range []struct {
		name, method, target string
		kind                 error
	}{
		{"another service", "GET", "https://ec2.us-east-1.amazonaws.com/?AWSAccessKeyId=AKIAX&Signature=NpgCjnDzrM%2BWFzoENXmpNDUsSn8%3D&Expires=1", ErrUnsupported},
		{"no host of AWS's", "GET", "https://b.s3.example.com/k?AWSAccessKeyId=AKIAX&Signature=NpgCjnDzrM%2BWFzoENXmpNDUsSn8%3D&Expires=1", ErrUnsupported},
		{"no base64", "GET", "https://b.s3.amazonaws.com/k?AWSAccessKeyId=AKIAX&Signature=x&Expires=1", ErrMalformed},
		{"no time", "GET", "https://b.s3.amazonaws.com/k?AWSAccessKeyId=AKIAX&Signature=NpgCjnDzrM%2BWFzoENXmpNDUsSn8%3D&Expires=-1", ErrMalformed},
		{"a token", "GET", "https://b.s3.amazonaws.com/k?AWSAccessKeyId=AKIAX&Signature=NpgCjnDzrM%2BWFzoENXmpNDUsSn8%3D&Expires=1&x-amz-security-token=t", ErrUnsupported},
		{"no signature", "GET", "https://b.s3.amazonaws.com/k?AWSAccessKeyId=AKIAX&Expires=1", ErrMissing},
	} {
		r := httptest.NewRequest(x.method, x.target, nil)
		if _, err := Parse(r); !errors.Is(err, x.kind) {
			t.Errorf("%s: %v", x.name, err)
		}
	}
	r := httptest.NewRequest(http.MethodGet, "https://johnsmith.s3.us-west-1.amazonaws.com/photos/puppy.jpg?AWSAccessKeyId=AKIAIOSFODNN7EXAMPLE&Signature=NpgCjnDzrM%2BWFzoENXmpNDUsSn8%3D&Expires=1175139620", nil)
	a, err := Parse(r)
	if err != nil {
		t.Fatal(err)
	}
	if err := new(Verifier).Verify(r, a, v2Secret, "", time.Now()); !errors.Is(err, ErrExpired) {
		t.Errorf("long past: %v", err)
	}
	if err := new(Verifier).Verify(r, a, v2Secret, "", time.Unix(1175139620, 0)); err != nil {
		t.Errorf("at its time: %v", err)
	}
}

func FuzzPresignedV2(f *testing.F) {
	const query = "?AWSAccessKeyId=AKIAX&Signature=NpgCjnDzrM%2BWFzoENXmpNDUsSn8%3D&Expires=1175139620"
	f.Add("b.s3.amazonaws.com", "k"+query)
	f.Add("s3.dualstack.eu-west-1.amazonaws.com", "b"+query+"&uploads&versionId=%31+")
	f.Add("a.b.s3-us-west-2.amazonaws.com:443", "/"+query+"&response-content-type=%zz&prefix=")
	f.Add("s3..amazonaws.com", query)
	f.Fuzz(func(t *testing.T, host, target string) {
		r := &http.Request{Method: "GET", RequestURI: "/" + target, Host: host, Header: http.Header{}}
		a, err := Parse(r)
		if err != nil || !a.V2 {
			return
		}
		if a.Region == "" || a.AccessKeyID == "" || !strings.HasSuffix(strings.Split(strings.ToLower(host), ":")[0], ".amazonaws.com") {
			t.Fatalf("incomplete, or for a host that is not S3's: %q %+v", host, a)
		}
		if err := new(Verifier).Verify(r, a, "a secret nobody has", "", a.Time); err == nil {
			t.Fatalf("verified: %q %q", host, target)
		}
		if _, err := new(Signer).Sign(r, Credentials{AccessKeyID: "ASIAX", SecretAccessKey: "s"}, a, "", a.Time); err != nil {
			return // a path that cannot be sent unchanged
		}
		if _, ok, _ := queryV2(r.URL.RawQuery); ok {
			t.Fatalf("the old signature goes on: %q", r.URL.RawQuery)
		}
	})
}
