package proxy_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/posternhq/postern/deploy/embedded/embeddedtest"
	"github.com/posternhq/postern/deploy/simaws/sdktest"
	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/proxy"
	"github.com/posternhq/postern/proxy/sts/ststest"
)

// versity runs versitygw, an S3 server with a signature check of its own, and
// returns its address. It knows one key.
func versity(t *testing.T, key, secret string) string {
	t.Helper()
	if testing.Short() {
		t.Skip("-short: versitygw takes minutes to build for the first time")
	}
	bin, err := exec.LookPath("versitygw")
	if err != nil {
		out, err := exec.CommandContext(t.Context(), "go", "tool", "-n", "-modfile=../testdata/clients/versitygw.mod", "versitygw").Output()
		if err != nil {
			t.Skipf("needs versitygw, on PATH or to be built: %v", err)
		}
		bin = strings.TrimSpace(string(out))
	}
	addr := fmt.Sprint("127.0.0.1:", embeddedtest.Port(t))
	dir := t.TempDir()
	cmd := exec.Command(bin, "--port", addr, "--virtual-domain", "s3.us-east-1.amazonaws.com", "--region", "us-east-1",
		"posix", "--sidecar", t.TempDir(), dir)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "ROOT_ACCESS_KEY=" + key, "ROOT_SECRET_KEY=" + secret}
	if err := embeddedtest.Listen(t, cmd, addr); err != nil {
		t.Skipf("versitygw does not run here: %v", err)
	}
	return addr
}

// What goes from a client through helper and proxy is right in the eyes of another S3
// server: names of all kinds, both ways to address a bucket, all ways to declare a
// payload, presigned URLs.
func TestVersity(t *testing.T) {
	// It takes no session token with its one key.
	key := ststest.Key{ID: "AKIAVERSITY", Secret: "signs anew"}
	gateway, err := url.Parse("http://" + versity(t, key.ID, key.Secret))
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	arrived := map[string]int{} // by how AWS was told of the payload
	onward := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.Out.URL.Scheme, r.Out.URL.Host, r.Out.Host = gateway.Scheme, gateway.Host, r.In.Host
	}}
	r := newRig(t, func(_ *proxy.Config, a *ststest.AWS) {
		a.Gives = key
		a.Serve = func(w http.ResponseWriter, req *http.Request, _ ststest.Key) {
			how := req.Header.Get("X-Amz-Content-Sha256")
			if len(how) == 64 {
				how = "hash"
			}
			mu.Lock()
			arrived[req.Method+" "+how]++
			mu.Unlock()
			if auth := req.Header.Get("Authorization"); strings.HasSuffix(req.URL.Path, "/tampered") {
				req.Header.Set("Authorization", auth[:len(auth)-8]+"00000000")
			}
			onward.ServeHTTP(w, req)
		}
	})
	helped, creds := r.helped(r.session())
	ctx := t.Context()
	client := s3.New(s3.Options{
		Region: "us-east-1", Credentials: credentials.StaticCredentialsProvider{Value: creds},
		HTTPClient: helped, Retryer: aws.NopRetryer{}, RequestChecksumCalculation: aws.RequestChecksumCalculationWhenSupported,
	})
	bucket := aws.String("odd-names")
	if _, err := client.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: bucket}); err != nil {
		t.Fatal(err)
	}

	sdk := func(hashed bool, opts ...func(*s3.Options)) func(string, string) error {
		return func(key, body string) error {
			if hashed {
				opts = append(opts[:len(opts):len(opts)], sdktest.DeclareHash([]byte(body)))
			}
			_, err := client.PutObject(ctx, &s3.PutObjectInput{Bucket: bucket, Key: &key, Body: strings.NewReader(body)}, opts...)
			return err
		}
	}
	pathStyle := func(o *s3.Options) { o.UsePathStyle = true }
	unsigned := s3.WithAPIOptions(v4.SwapComputePayloadSHA256ForUnsignedPayloadMiddleware)
	presigner := s3.NewPresignClient(client)
	ways := []struct {
		name string
		put  func(key, body string) error
		get  func(key string) (string, error)
	}{
		{"trailer", sdk(false), nil},
		{"trailer, path", sdk(false, pathStyle), getBy(ctx, client, bucket, pathStyle)},
		{"hash", sdk(true, sdktest.NoChecksum), nil},
		{"hash, path", sdk(true, sdktest.NoChecksum, pathStyle), getBy(ctx, client, bucket, pathStyle)},
		{"unsigned", sdk(false, sdktest.NoChecksum, unsigned), nil},
		{"signed chunks", func(key, body string) error { return putChunks(ctx, helped, creds, *bucket, key, body, false) }, nil},
		{"signed chunks and trailer", func(key, body string) error { return putChunks(ctx, helped, creds, *bucket, key, body, true) }, nil},
		{"presigned", func(key, body string) error {
			u, err := presigner.PresignPutObject(ctx, &s3.PutObjectInput{Bucket: bucket, Key: &key}, s3.WithPresignClientFromClientOptions(sdktest.NoChecksum))
			if err != nil {
				return err
			}
			_, err = exchange(ctx, helped, http.MethodPut, u.URL, body)
			return err
		}, func(key string) (string, error) {
			u, err := presigner.PresignGetObject(ctx, &s3.GetObjectInput{Bucket: bucket, Key: &key})
			if err != nil {
				return "", err
			}
			return exchange(ctx, helped, http.MethodGet, u.URL, "")
		}},
	}
	names := []string{"plain", "with space", " lead and trail ", "plus+plus", "100%", "%2F", "%25", "a%20b", "ü/日本語", "e\u0301 decomposed", "emoji🙂", "~tilde",
		"q?x=1&y=2", "hash#frag", "semi;colon", "co:lon@at", "quote'\"", "star*!()[]{}", "eq=uals,comma", "back\\slash", "...", "..hidden", "dots...", ".hidden", "deep/er/still"}
	for _, way := range ways {
		if way.get == nil {
			way.get = getBy(ctx, client, bucket)
		}
		var want []string
		for _, name := range names {
			key := way.name + "/" + name
			want = append(want, key)
			body := strings.Repeat(key, 1+66_000/len(key)) // more than one chunk
			if err := way.put(key, body); err != nil {
				t.Errorf("put %q: %v", key, err)
				continue
			}
			if got, err := way.get(key); err != nil || got != body {
				t.Errorf("get %q: %d bytes that begin with %.60q, %v; want %d", key, len(got), got, err, len(body))
			}
		}
		// By their names in the answer, too.
		slices.Sort(want)
		list, err := client.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: bucket, Prefix: aws.String(way.name + "/")})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, o := range list.Contents {
			got = append(got, *o.Key)
		}
		if !slices.Equal(got, want) {
			t.Errorf("listed %q, want %q", got, want)
		}
		// Names that it has no file for it refuses by what they are, never by their signature.
		for _, name := range []string{"a//b", "//lead", "/slash", "tail/", "..", "../up", "a/../b", "a/./b", "./here", "dots/.."} {
			key := way.name + "/" + name
			putErr := way.put(key, name)
			got, err := way.get(key)
			for _, err := range []error{putErr, err} {
				if err != nil && (strings.Contains(err.Error(), "SignatureDoesNotMatch") || strings.Contains(err.Error(), "postern")) {
					t.Errorf("%q: %v", key, err)
				}
			}
			if putErr == nil && err == nil && got != name {
				t.Errorf("%q came back as %.60q", key, got)
			}
		}
	}
	// It does check.
	if _, err := getBy(ctx, client, bucket)("x/tampered"); err == nil || !strings.Contains(err.Error(), "SignatureDoesNotMatch") {
		t.Errorf("with a wrong signature: %v", err)
	}
	// What is presigned goes on with its signature in the header.
	for how, ways := range map[string]int{"PUT hash": 2, "PUT UNSIGNED-PAYLOAD": 2, "PUT STREAMING-UNSIGNED-PAYLOAD-TRAILER": 2, "PUT STREAMING-AWS4-HMAC-SHA256-PAYLOAD": 1,
		"PUT STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER": 1, "GET UNSIGNED-PAYLOAD": 1} {
		if arrived[how] < ways*len(names) {
			t.Errorf("%s arrived %d times: %v", how, arrived[how], arrived)
		}
	}
	r.clean()
	es := r.audit()
	if a, c := payloads[*events.AWSRequestAdmitted](es), payloads[*events.AWSRequestCompleted](es); len(a) != len(c) || len(a) < 2*len(ways)*len(names) {
		t.Errorf("%d admitted, %d completed", len(a), len(c))
	}
}

// getBy reads objects by the SDK.
func getBy(ctx context.Context, client *s3.Client, bucket *string, opts ...func(*s3.Options)) func(string) (string, error) {
	return func(key string) (string, error) {
		out, err := client.GetObject(ctx, &s3.GetObjectInput{Bucket: bucket, Key: &key}, opts...)
		if err != nil {
			return "", err
		}
		defer out.Body.Close()
		b, err := io.ReadAll(out.Body)
		return string(b), err
	}
}

// exchange sends a request that needs no signature beside its address's. Whatever is
// no success is an error with the answer in it.
func exchange(ctx context.Context, client *http.Client, method, address, body string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, method, address, strings.NewReader(body))
	if err != nil {
		return "", err
	}
	return answered(client.Do(req))
}

func answered(resp *http.Response, err error) (string, error) {
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", resp.Status, b)
	}
	return string(b), err
}

// putChunks writes an object whose body is signed chunk by chunk, as SDKs do over
// plain HTTP: the one for Go can't over HTTPS.
func putChunks(ctx context.Context, client *http.Client, creds aws.Credentials, bucket, key, body string, trailer bool) error {
	u := &url.URL{Scheme: "https", Host: bucket + ".s3.us-east-1.amazonaws.com", Path: "/" + key, RawPath: "/" + escaped(key)}
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, u.String(), nil)
	if err != nil {
		return err
	}
	payload := "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
	if trailer {
		payload += "-TRAILER"
		req.Header.Set("X-Amz-Trailer", "x-amz-checksum-crc32")
	}
	req.Header.Set("X-Amz-Content-Sha256", payload)
	req.Header.Set("X-Amz-Decoded-Content-Length", strconv.Itoa(len(body)))
	req.Header.Set("Content-Encoding", "aws-chunked")
	signer := v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true })
	if err := signer.SignHTTP(ctx, creds, req, payload, "s3", "us-east-1", time.Now()); err != nil {
		return err
	}
	chain := chunksOf(req, creds.SecretAccessKey)
	var framed bytes.Buffer
	for rest := []byte(body); ; {
		chunk := rest[:min(len(rest), 64<<10)]
		fmt.Fprintf(&framed, "%x;chunk-signature=%s\r\n%s", len(chunk), chain.next(chunk), chunk)
		if len(chunk) > 0 || !trailer {
			framed.WriteString("\r\n")
		}
		if rest = rest[len(chunk):]; len(chunk) == 0 {
			break
		}
	}
	if trailer {
		sum := "x-amz-checksum-crc32:" + base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint32(nil, crc32.ChecksumIEEE([]byte(body))))
		fmt.Fprintf(&framed, "%s\r\nx-amz-trailer-signature:%s\r\n\r\n", sum, chain.trailer(sum+"\n"))
	}
	req.Body, req.ContentLength = io.NopCloser(&framed), int64(framed.Len())
	_, err = answered(client.Do(req))
	return err
}

// escaped is a key in a path as S3 wants it signed.
func escaped(key string) string {
	var b strings.Builder
	for _, c := range []byte(key) {
		if 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("-._~/", c) >= 0 {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}
