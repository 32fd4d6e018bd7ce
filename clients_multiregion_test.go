package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	smithymiddleware "github.com/aws/smithy-go/middleware"

	"github.com/posternhq/postern/deploy/simaws/sdktest"
	"github.com/posternhq/postern/proxy/sigv4"
)

const regionResources = `kind: role
version: v7
metadata: {name: clients-region}
spec:
  allow:
    app_labels: {clients: region}
    aws_role_arns: ["arn:aws:iam::` + devAccount + `:role/PosternEngineer"]
    aws_actions: ["s3:GetObject"]
    aws_regions: ["us-*", "eu-west-1"]
---
kind: app
version: v3
metadata: {name: clients-region, labels: {clients: region}}
spec: {cloud: AWS, aws: {account_id: "` + devAccount + `", region: us-east-1}}
`

// multiRegion: an access point of S3 for buckets of two regions, where SDKs sign by
// SigV4A: those for Go and for JavaScript, and, for signed chunks, which neither sends,
// package sigv4. The simulated AWS verifies them with code of its own.
func (c *clients) multiRegion(t *testing.T) {
	needs(t, "aws", "--version")
	for name, region := range map[string]string{"near": "us-east-1", "far": "eu-central-1"} {
		output(t, c.aws(t, "s3", "mb", "s3://multi-region-"+name, "--region", region))
	}
	output(t, c.aws(t, "s3control", "create-multi-region-access-point", "--region", "us-west-2", "--account-id", devAccount, "--client-token", "t",
		"--details", "Name=point,Regions=[{Bucket=multi-region-near},{Bucket=multi-region-far}]"))
	alias := strings.TrimSpace(output(t, c.aws(t, "s3control", "get-multi-region-access-point", "--region", "us-west-2", "--account-id", devAccount, "--name", "point",
		"--query", "AccessPoint.Alias", "--output", "text")))
	point := "arn:aws:s3::" + devAccount + ":accesspoint/" + alias

	noted := &goCalls{payloads: map[string]int{}}
	transport := c.transport(t)
	client := s3.New(s3.Options{
		Region:      "us-east-1",
		Credentials: credentials.NewStaticCredentialsProvider(c.vars["AWS_ACCESS_KEY_ID"], c.vars["AWS_SECRET_ACCESS_KEY"], ""),
		HTTPClient: &http.Client{Transport: noted.sent(roundTripper(func(r *http.Request) (*http.Response, error) {
			if auth := r.Header.Get("Authorization"); !strings.HasPrefix(auth, "AWS4-ECDSA-P256-SHA256 ") {
				t.Errorf("not signed by SigV4A: %q", auth)
			}
			return transport.RoundTrip(r)
		}))},
		APIOptions: []func(*smithymiddleware.Stack) error{noted.note},

		RequestChecksumCalculation: aws.RequestChecksumCalculationWhenSupported,
	})
	content, err := io.ReadAll(io.LimitReader(randomBytes(2), 200_001))
	if err != nil {
		t.Fatal(err)
	}
	get := func(key string, want []byte) {
		t.Helper()
		got, err := object(t.Context(), client, &s3.GetObjectInput{Bucket: &point, Key: &key})
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("get %q: %d of %d bytes, %v", key, len(got), len(want), err)
		}
	}
	for name, in := range map[string]struct {
		body io.Reader
		opts []func(*s3.Options)
	}{
		"trailer":              {bytes.NewReader(content), nil},
		"trailer, cannot seek": {unseekable{bytes.NewReader(content)}, nil},
		"payload hash":         {bytes.NewReader(content), []func(*s3.Options){sdktest.NoChecksum, sdktest.DeclareHash(content)}},
	} {
		if _, err := client.PutObject(t.Context(), &s3.PutObjectInput{Bucket: &point, Key: &name, Body: in.body, ContentLength: aws.Int64(int64(len(content)))}, in.opts...); err != nil {
			t.Errorf("put, %s: %v", name, err)
			continue
		}
		get(name, content)
	}
	for _, key := range oddKeys {
		if _, err := client.PutObject(t.Context(), &s3.PutObjectInput{Bucket: &point, Key: &key, Body: strings.NewReader(key)}); err != nil {
			t.Errorf("put %q: %v", key, err)
			continue
		}
		get(key, []byte(key))
	}
	c.recorded(t, noted.calls)
	if noted.payloads["STREAMING-UNSIGNED-PAYLOAD-TRAILER"] == 0 || noted.payloads["hash"] == 0 {
		t.Errorf("payloads %v", noted.payloads)
	}
	t.Logf("%d calls by SigV4A, one attempt each, all on record", len(noted.calls))

	web := &http.Client{Transport: transport}
	options := client.Options()
	options.APIOptions = nil
	for key, want := range map[string]string{"plain.txt": "plain.txt", "a//b": "a//b"} { // this SDK presigns others as encoded twice
		signed, err := s3.NewPresignClient(s3.New(options)).PresignGetObject(t.Context(), &s3.GetObjectInput{Bucket: &point, Key: &key})
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(signed.URL, "X-Amz-Algorithm=AWS4-ECDSA-P256-SHA256") {
			t.Errorf("not presigned by SigV4A: %s", signed.URL)
		}
		req, err := http.NewRequestWithContext(t.Context(), signed.Method, signed.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		c.fetch(t, web, req, "GetObject", want)
	}

	host := alias + ".accesspoint.s3-global.amazonaws.com"
	for _, trailer := range []bool{false, true} {
		req := c.signedInChunks(t, host, fmt.Sprintf("chunks-%v", trailer), content, trailer)
		c.fetch(t, web, req, "PutObject", "")
		get(strings.TrimPrefix(req.URL.Path, "/"), content)
	}

	t.Run("javascript", func(t *testing.T) {
		keys, err := json.Marshal(oddKeys)
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(t.TempDir(), "keys.json")
		if err := os.WriteFile(file, keys, 0o600); err != nil {
			t.Fatal(err)
		}
		cmd := exec.CommandContext(t.Context(), "node", nodeScript(t, "multiregion.mjs"), point, file)
		cmd.Env = environ(c.vars, "NODE_EXTRA_CA_CERTS="+c.vars["AWS_CA_BUNDLE"])
		c.told(t, output(t, cmd))
	})

	// Which regions a role allows is asked of all that the call is signed for.
	c.grant(t, regionResources, "clients-region")
	vars, _ := c.proxyAWS(t, t.TempDir(), "clients-region")
	narrowed := &clients{vars: vars}
	through := &http.Client{Transport: narrowed.transport(t)}
	for _, x := range []struct {
		set  string
		want int
	}{{"us-east-1", 200}, {"us-east-1,us-west-2,eu-west-1", 200}, {"us-*", 200}, {"*", 403}, {"us-east-1,eu-central-1", 403}, {"us-east-1,eu-*", 403}} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+host+"/plain.txt", nil)
		if err != nil {
			t.Fatal(err)
		}
		narrowed.signA(t, req, x.set, "UNSIGNED-PAYLOAD", sigv4.PayloadUnsigned)
		answer, err := through.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(answer.Body)
		answer.Body.Close()
		if err != nil || answer.StatusCode != x.want {
			t.Errorf("signed for %s: %s, %v\n%s", x.set, answer.Status, err, text)
		}
		if x.want == 403 && !strings.Contains(string(text), "signed for the regions "+x.set) {
			t.Errorf("signed for %s: the refusal doesn't say so: %s", x.set, text)
		}
	}
}

// signA signs by SigV4A as a client of the helper, and returns the signature.
func (c *clients) signA(t *testing.T, req *http.Request, set, payload string, mode sigv4.PayloadMode) *sigv4.Authorization {
	t.Helper()
	var signer sigv4.Signer
	auth, err := signer.Sign(req, c.keys(), &sigv4.Authorization{
		Scope: sigv4.Scope{Region: set, Service: "s3", Algorithm: sigv4.SigV4A}, Payload: mode, PayloadHash: payload,
	}, "", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return auth
}

func (c *clients) keys() sigv4.Credentials {
	return sigv4.Credentials{AccessKeyID: c.vars["AWS_ACCESS_KEY_ID"], SecretAccessKey: c.vars["AWS_SECRET_ACCESS_KEY"]}
}

// signedInChunks puts content in chunks that are signed by SigV4A, as AWS's common runtime
// does (the SDKs for C++ and Java).
func (c *clients) signedInChunks(t *testing.T, host, key string, content []byte, trailer bool) *http.Request {
	t.Helper()
	var body bytes.Buffer
	blank := strings.Repeat("*", 144)
	for rest := content; ; {
		n := min(len(rest), 64<<10)
		fmt.Fprintf(&body, "%x;chunk-signature=%s\r\n", n, blank)
		if n == 0 {
			break
		}
		body.Write(rest[:n])
		body.WriteString("\r\n")
		rest = rest[n:]
	}
	payload, mode := "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD", sigv4.PayloadChunked
	if trailer {
		payload, mode = payload+"-TRAILER", sigv4.PayloadChunkedTrailer
		sum := crc32.Checksum(content, crc32.MakeTable(crc32.Castagnoli))
		fmt.Fprintf(&body, "x-amz-checksum-crc32c:%s\r\nx-amz-trailer-signature:%s\r\n",
			base64.StdEncoding.EncodeToString([]byte{byte(sum >> 24), byte(sum >> 16), byte(sum >> 8), byte(sum)}), blank)
	}
	body.WriteString("\r\n")
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, "https://"+host+"/"+key, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.ContentLength = int64(body.Len())
	req.Header.Set("X-Amz-Content-Sha256", payload)
	req.Header.Set("X-Amz-Decoded-Content-Length", strconv.Itoa(len(content)))
	if trailer {
		req.Header.Set("X-Amz-Trailer", "x-amz-checksum-crc32c")
	}
	auth := c.signA(t, req, "*", payload, mode)
	signed, err := sigv4.NewStreamReader(&body, sigv4.StreamConfig{Sign: &sigv4.Chain{Auth: auth, Secret: c.keys().SecretAccessKey}, DecodedLength: int64(len(content))})
	if err != nil {
		t.Fatal(err)
	}
	req.Body = signed
	return req
}
