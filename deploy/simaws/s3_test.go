package simaws

import (
	"bytes"
	"crypto/rand"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/google/go-cmp/cmp"
)

// oddKeys are keys that something between client and disk likes to mend.
var oddKeys = []string{
	"plain", "with space", "plus+plus", "100%", "%2F", "%", "a//b", "//", "/lead", "trail/", "../up", "a/../b", "./dot", ".", "..",
	"é/ü/日本語/🙂", "a?b=c&d", "a#b", "a;b", "a:b@c", "*'()!~$,=", `quote"s`, `back\slash`, "<&>", "tab\there", "new\nline", strings.Repeat("k", 1024),
}

func TestObjects(t *testing.T) {
	f := newSim(t, nil)
	f.bucket(t, "odd-keys")
	ctx := t.Context()
	for _, style := range []struct {
		name string
		path bool
	}{{"virtual host", false}, {"path", true}} {
		t.Run(style.name, func(t *testing.T) {
			c := s3.NewFromConfig(f.aws(), func(o *s3.Options) { o.UsePathStyle = style.path })
			for _, key := range oddKeys {
				want := style.name + " " + key
				if _, err := c.PutObject(ctx, &s3.PutObjectInput{Bucket: aws.String("odd-keys"), Key: &key, Body: strings.NewReader(want), Metadata: map[string]string{"a": "b"}, ContentType: aws.String("text/x")}); err != nil {
					t.Errorf("put %q: %v", key, err)
					continue
				}
				out, err := c.GetObject(ctx, &s3.GetObjectInput{Bucket: aws.String("odd-keys"), Key: &key, ChecksumMode: types.ChecksumModeEnabled})
				if err != nil {
					t.Errorf("get %q: %v", key, err)
					continue
				}
				if got := readAll(t, out.Body); got != want || out.Metadata["a"] != "b" || *out.ContentType != "text/x" || out.ChecksumCRC32 == nil {
					t.Errorf("%q came back as %q, metadata %v, type %v, checksum %v", key, got, out.Metadata, *out.ContentType, out.ChecksumCRC32)
				}
				id, _ := awsmiddleware.GetRequestIDMetadata(out.ResultMetadata)
				if rec := f.record(t, id); at(rec, "requestParameters", "key") != key || rec["eventName"] != "GetObject" || rec["eventCategory"] != "Data" {
					t.Errorf("recorded as %v of key %q", rec["eventName"], at(rec, "requestParameters", "key"))
				}
			}
			var listed []string
			p := s3.NewListObjectsV2Paginator(c, &s3.ListObjectsV2Input{Bucket: aws.String("odd-keys"), MaxKeys: aws.Int32(4), EncodingType: types.EncodingTypeUrl})
			for p.HasMorePages() {
				page, err := p.NextPage(ctx)
				if err != nil {
					t.Fatal(err)
				}
				for _, o := range page.Contents {
					key, err := percentDecode(*o.Key)
					if err != nil {
						t.Fatal(err)
					}
					listed = append(listed, key)
				}
			}
			want := slices.Clone(oddKeys)
			slices.Sort(want)
			if diff := cmp.Diff(want, listed); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestObjectReads(t *testing.T) {
	f := newSim(t, nil)
	f.bucket(t, "reads")
	c := s3.NewFromConfig(f.aws())
	ctx := t.Context()
	put, err := c.PutObject(ctx, &s3.PutObjectInput{Bucket: aws.String("reads"), Key: aws.String("k"), Body: strings.NewReader("0123456789")})
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name, want, code string
		in               s3.GetObjectInput
	}{
		{"all", "0123456789", "", s3.GetObjectInput{}},
		{"range", "234", "", s3.GetObjectInput{Range: aws.String("bytes=2-4")}},
		{"open range", "789", "", s3.GetObjectInput{Range: aws.String("bytes=7-")}},
		{"suffix", "89", "", s3.GetObjectInput{Range: aws.String("bytes=-2")}},
		{"past the end", "9", "", s3.GetObjectInput{Range: aws.String("bytes=9-99")}},
		{"outside", "", "InvalidRange", s3.GetObjectInput{Range: aws.String("bytes=10-")}},
		{"if match", "0123456789", "", s3.GetObjectInput{IfMatch: put.ETag}},
		{"if match fails", "", "PreconditionFailed", s3.GetObjectInput{IfMatch: aws.String(`"x"`)}},
		{"if none match", "", "NotModified", s3.GetObjectInput{IfNoneMatch: put.ETag}},
		{"not modified since", "", "NotModified", s3.GetObjectInput{IfModifiedSince: aws.Time(time.Now().Add(time.Hour))}},
		{"part one", "0123456789", "", s3.GetObjectInput{PartNumber: aws.Int32(1)}},
		{"another owner expected", "", "AccessDenied", s3.GetObjectInput{ExpectedBucketOwner: aws.String(otherAccount)}},
		{"no such key", "", "NoSuchKey", s3.GetObjectInput{Key: aws.String("nope")}},
		{"no such bucket", "", "NoSuchBucket", s3.GetObjectInput{Bucket: aws.String("nope-bucket")}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if tc.in.Key == nil {
				tc.in.Key = aws.String("k")
			}
			if tc.in.Bucket == nil {
				tc.in.Bucket = aws.String("reads")
			}
			out, err := c.GetObject(ctx, &tc.in)
			if apiCode(err) != tc.code {
				t.Fatalf("%v, want code %q", err, tc.code)
			}
			if err != nil {
				return
			}
			if got := readAll(t, out.Body); got != tc.want {
				t.Errorf("%q, want %q", got, tc.want)
			}
		})
	}
	if _, err := c.PutObject(ctx, &s3.PutObjectInput{Bucket: aws.String("reads"), Key: aws.String("k"), Body: strings.NewReader("x"), IfNoneMatch: aws.String("*")}); apiCode(err) != "PreconditionFailed" {
		t.Errorf("create over an object: %v", err)
	}
	if _, err := c.CopyObject(ctx, &s3.CopyObjectInput{Bucket: aws.String("reads"), Key: aws.String("copy of k"), CopySource: aws.String("reads/k")}); err != nil {
		t.Fatal(err)
	}
	// Its source may be encoded as a whole (https://github.com/aws/aws-sdk-js/issues/1821).
	if _, err := c.CopyObject(ctx, &s3.CopyObjectInput{Bucket: aws.String("reads"), Key: aws.String("copy of k"), CopySource: aws.String("%2Freads%2Fk")}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: aws.String("reads"), Key: aws.String("k")}); err != nil {
		t.Fatal(err)
	}
	out, err := c.GetObject(ctx, &s3.GetObjectInput{Bucket: aws.String("reads"), Key: aws.String("copy of k")})
	if err != nil || readAll(t, out.Body) != "0123456789" {
		t.Errorf("the copy does not outlive its source: %v", err)
	}
	_, err = c.HeadObject(ctx, &s3.HeadObjectInput{Bucket: aws.String("reads"), Key: aws.String("k")})
	if apiCode(err) != "NotFound" {
		t.Errorf("head of a deleted object: %v", err)
	}
	del, err := c.DeleteObjects(ctx, &s3.DeleteObjectsInput{Bucket: aws.String("reads"), Delete: &types.Delete{Objects: []types.ObjectIdentifier{{Key: aws.String("copy of k")}, {Key: aws.String("never was")}}}})
	if err != nil || len(del.Deleted) != 2 {
		t.Errorf("delete: %v, %v", del, err)
	}
	if _, err := c.DeleteBucket(ctx, &s3.DeleteBucketInput{Bucket: aws.String("reads")}); err != nil {
		t.Error(err)
	}
}

// What is not simulated leaves an object alone.
func TestAnnotations(t *testing.T) {
	f := newSim(t, nil)
	f.bucket(t, "annotated")
	c := s3.NewFromConfig(f.aws())
	bucket, key := aws.String("annotated"), aws.String("k")
	if _, err := c.PutObject(t.Context(), &s3.PutObjectInput{Bucket: bucket, Key: key, Body: strings.NewReader("hello")}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.PutObjectAnnotation(t.Context(), &s3.PutObjectAnnotationInput{Bucket: bucket, Key: key, AnnotationName: aws.String("a"), AnnotationPayload: strings.NewReader("note")}); err == nil {
		t.Error("annotated")
	}
	if _, err := c.DeleteObjectAnnotation(t.Context(), &s3.DeleteObjectAnnotationInput{Bucket: bucket, Key: key, AnnotationName: aws.String("a")}); err == nil {
		t.Error("an annotation was deleted")
	}
	out, err := c.GetObject(t.Context(), &s3.GetObjectInput{Bucket: bucket, Key: key})
	if err != nil {
		t.Fatal(err)
	}
	if got := readAll(t, out.Body); got != "hello" {
		t.Errorf("the object is %q", got)
	}
}

func TestListing(t *testing.T) {
	f := newSim(t, nil)
	f.bucket(t, "lists")
	for _, k := range []string{"a", "b/1", "b/2", "b/c/3", "b0", "d/", "d/x", "é"} {
		if err := f.PutObject("lists", k, strings.NewReader(k)); err != nil {
			t.Fatal(err)
		}
	}
	c := s3.NewFromConfig(f.aws())
	for _, tc := range []struct {
		prefix, delimiter, after string
		want                     []string
	}{
		{"", "", "", []string{"a", "b/1", "b/2", "b/c/3", "b0", "d/", "d/x", "é"}},
		{"", "/", "", []string{"a", "b/*", "b0", "d/*", "é"}},
		{"b/", "/", "", []string{"b/1", "b/2", "b/c/*"}},
		{"b", "", "", []string{"b/1", "b/2", "b/c/3", "b0"}},
		{"d/", "/", "", []string{"d/", "d/x"}},
		{"", "", "b/2", []string{"b/c/3", "b0", "d/", "d/x", "é"}},
		{"x", "/", "", nil},
		{"", "/1", "", []string{"a", "b/1*", "b/2", "b/c/3", "b0", "d/", "d/x", "é"}},
	} {
		for _, size := range []int32{1, 2, 1000} {
			in := &s3.ListObjectsV2Input{Bucket: aws.String("lists"), Prefix: &tc.prefix, MaxKeys: aws.Int32(size)}
			if tc.delimiter != "" {
				in.Delimiter = &tc.delimiter
			}
			if tc.after != "" {
				in.StartAfter = &tc.after
			}
			var got []string
			p := s3.NewListObjectsV2Paginator(c, in)
			for p.HasMorePages() {
				page, err := p.NextPage(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				for _, o := range page.Contents {
					got = append(got, *o.Key)
				}
				for _, o := range page.CommonPrefixes {
					got = append(got, *o.Prefix+"*")
				}
			}
			slices.Sort(got)
			slices.Sort(tc.want)
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("prefix %q delimiter %q after %q by %d: %s", tc.prefix, tc.delimiter, tc.after, size, diff)
			}
		}
	}
}

// TestMultipart uploads parts with each kind of checksum and reads across the
// seam; the object must survive a restart on the same directory.
func TestMultipart(t *testing.T) {
	var dir string
	f := newSim(t, func(c *Config) { dir = c.Dir })
	f.bucket(t, "parts")
	c := s3.NewFromConfig(f.aws())
	ctx := t.Context()
	data := make([]byte, 2*minPart+77)
	rand.Read(data)
	for _, tc := range []struct {
		alg  types.ChecksumAlgorithm
		kind types.ChecksumType
	}{{types.ChecksumAlgorithmCrc32, types.ChecksumTypeComposite}, {types.ChecksumAlgorithmCrc32c, types.ChecksumTypeFullObject}, {types.ChecksumAlgorithmCrc64nvme, types.ChecksumTypeFullObject}, {types.ChecksumAlgorithmSha256, types.ChecksumTypeComposite}} {
		key := string(tc.alg) + "/" + string(tc.kind)
		up, err := c.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{Bucket: aws.String("parts"), Key: &key, ChecksumAlgorithm: tc.alg, ChecksumType: tc.kind})
		if err != nil {
			t.Fatal(err)
		}
		var done []types.CompletedPart
		for i := 0; i*minPart < len(data); i++ {
			part := data[i*minPart : min((i+1)*minPart, len(data))]
			out, err := c.UploadPart(ctx, &s3.UploadPartInput{Bucket: aws.String("parts"), Key: &key, UploadId: up.UploadId, PartNumber: aws.Int32(int32(i + 1)), Body: bytes.NewReader(part), ChecksumAlgorithm: tc.alg})
			if err != nil {
				t.Fatal(err)
			}
			done = append(done, types.CompletedPart{PartNumber: aws.Int32(int32(i + 1)), ETag: out.ETag, ChecksumCRC32: out.ChecksumCRC32, ChecksumCRC32C: out.ChecksumCRC32C, ChecksumCRC64NVME: out.ChecksumCRC64NVME, ChecksumSHA256: out.ChecksumSHA256})
		}
		listed, err := c.ListParts(ctx, &s3.ListPartsInput{Bucket: aws.String("parts"), Key: &key, UploadId: up.UploadId})
		if err != nil || len(listed.Parts) != 3 {
			t.Fatalf("%v parts, %v", listed, err)
		}
		wrong := slices.Clone(done)
		wrong[0].ETag = wrong[1].ETag
		in := &s3.CompleteMultipartUploadInput{Bucket: aws.String("parts"), Key: &key, UploadId: up.UploadId, MultipartUpload: &types.CompletedMultipartUpload{Parts: wrong}}
		if _, err := c.CompleteMultipartUpload(ctx, in); apiCode(err) != "InvalidPart" {
			t.Errorf("complete with a wrong ETag: %v", err)
		}
		in.MultipartUpload.Parts = done
		if _, err := c.CompleteMultipartUpload(ctx, in); err != nil {
			t.Fatal(err)
		}
		out, err := c.GetObject(ctx, &s3.GetObjectInput{Bucket: aws.String("parts"), Key: &key, ChecksumMode: types.ChecksumModeEnabled})
		if err != nil {
			t.Fatal(err)
		}
		// The SDK checks FULL_OBJECT checksums itself while reading.
		got, err := io.ReadAll(out.Body)
		if err != nil || !bytes.Equal(got, data) || out.ChecksumType != tc.kind {
			t.Errorf("%s: %d bytes (%v), checksum type %s", key, len(got), err, out.ChecksumType)
		}
		out, err = c.GetObject(ctx, &s3.GetObjectInput{Bucket: aws.String("parts"), Key: &key, Range: aws.String(fmt.Sprintf("bytes=%d-%d", minPart-10, minPart+9))})
		if err != nil {
			t.Fatal(err)
		}
		if got, _ := io.ReadAll(out.Body); !bytes.Equal(got, data[minPart-10:minPart+10]) {
			t.Errorf("%s: the range across the seam is wrong", key)
		}
	}
	again, err := openObjectStore(dir+"/s3", time.Now)
	if err != nil {
		t.Fatal(err)
	}
	if b := again.bucket("parts"); b == nil || len(b.keys) != 4 || len(b.uploads) != 0 {
		t.Fatalf("after a restart: %+v", b)
	}
	o := again.bucket("parts").acquire("CRC32/COMPOSITE")
	if got, err := io.ReadAll(again.bucket("parts").reader(o, 0, o.Size)); err != nil || !bytes.Equal(got, data) {
		t.Errorf("after a restart: %d bytes, %v", len(got), err)
	}
}

// s3Code sends a request and returns the error code in the answer, "" for
// success.
func (f *fixture) s3Code(t *testing.T, req *http.Request) string {
	t.Helper()
	res, err := f.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	body := readAll(t, res.Body)
	if res.StatusCode < 300 {
		return ""
	}
	var e struct{ Code, RequestId string }
	if err := xml.Unmarshal([]byte(body), &e); err != nil {
		t.Fatalf("%d %s", res.StatusCode, body)
	}
	if e.RequestId != res.Header.Get("X-Amz-Request-Id") || res.Header.Get("X-Amz-Id-2") == "" {
		t.Errorf("request id %q in the body, %q in the header", e.RequestId, res.Header.Get("X-Amz-Request-Id"))
	}
	return e.Code
}

// TestS3Tampering: whatever is changed on the way is noticed and nothing is
// stored.
func TestS3Tampering(t *testing.T) {
	f := newSim(t, nil)
	f.bucket(t, "tamper")
	const target = "https://tamper.s3.us-east-1.amazonaws.com/k"
	now := time.Now()
	for _, tc := range []struct {
		name, code string
		change     func(*http.Request)
	}{
		{"untouched", "", func(*http.Request) {}},
		{"body", "XAmzContentSHA256Mismatch", func(r *http.Request) { r.Body = io.NopCloser(strings.NewReader("HELLO")) }},
		{"declared hash", "SignatureDoesNotMatch", func(r *http.Request) { r.Header.Set("X-Amz-Content-Sha256", unsignedPayload) }},
		{"path", "SignatureDoesNotMatch", func(r *http.Request) { r.URL.Path = "/K" }},
		{"query", "SignatureDoesNotMatch", func(r *http.Request) { r.URL.RawQuery = "x=y" }},
		{"method", "SignatureDoesNotMatch", func(r *http.Request) { r.Method = http.MethodDelete }},
		{"host", "SignatureDoesNotMatch", func(r *http.Request) { r.URL.Host, r.Host = "tampe2.s3.us-east-1.amazonaws.com", "" }},
		{"region", "AuthorizationHeaderMalformed", func(r *http.Request) { r.URL.Host, r.Host = "tamper.s3.eu-west-1.amazonaws.com", "" }},
		{"service", "AuthorizationHeaderMalformed", func(r *http.Request) { edit(r, "/s3/", "/sts/") }},
		{"date", "SignatureDoesNotMatch", func(r *http.Request) {
			other := now.Add(time.Second)
			if other.UTC().Day() != now.UTC().Day() {
				other = now.Add(-time.Second) // of the day that the signature's scope names
			}
			r.Header.Set("X-Amz-Date", other.UTC().Format(amzTime))
		}},
		{"unsigned header", "AccessDenied", func(r *http.Request) { r.Header.Set("X-Amz-Meta-Sneaked", "in") }},
		{"two signatures", "InvalidArgument", func(r *http.Request) { r.Header.Add("Authorization", r.Header.Get("Authorization")) }},
		{"signature in the query too", "InvalidArgument", func(r *http.Request) { r.URL.RawQuery = "X-Amz-Signature=" + strings.Repeat("0", 64) }},
		{"signature", "SignatureDoesNotMatch", func(r *http.Request) {
			h := r.Header.Get("Authorization")
			r.Header.Set("Authorization", h[:len(h)-64]+strings.Repeat("0", 64))
		}},
		{"no signature", "AccessDenied", func(r *http.Request) { r.Header.Del("Authorization") }},
		{"signature version 2", "InvalidRequest", func(r *http.Request) { r.Header.Set("Authorization", "AWS "+f.key.ID+":c2ln") }},
		{"checksum", "AccessDenied", func(r *http.Request) { r.Header.Set("X-Amz-Checksum-Crc32", "AAAAAA==") }},
		{"md5", "BadDigest", func(r *http.Request) { r.Header.Set("Content-Md5", "1B2M2Y8AsgTpgAmY7PhCfg==") }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			req := f.signed(t, http.MethodPut, target, "hello", nil, now)
			tc.change(req)
			if got := f.s3Code(t, req); got != tc.code {
				t.Errorf("%q, want %q", got, tc.code)
			}
			b := f.s3.bucket("tamper")
			b.mu.Lock()
			stored := len(b.keys)
			b.mu.Unlock()
			if want := map[bool]int{true: 1, false: 0}[tc.code == ""]; stored != want {
				t.Errorf("%d objects stored, want %d", stored, want)
			}
			if err := b.delete("k"); err != nil {
				t.Fatal(err)
			}
		})
	}
	for _, tc := range []struct {
		at   time.Time
		code string
	}{{now.Add(-14 * time.Minute), ""}, {now.Add(14 * time.Minute), ""}, {now.Add(-16 * time.Minute), "RequestTimeTooSkewed"}, {now.Add(16 * time.Minute), "RequestTimeTooSkewed"}} {
		if got := f.s3Code(t, f.signed(t, http.MethodPut, target, "x", nil, tc.at)); got != tc.code {
			t.Errorf("signed %s from now: %q, want %q", tc.at.Sub(now), got, tc.code)
		}
	}
}

func edit(r *http.Request, old, new string) {
	r.Header.Set("Authorization", strings.Replace(r.Header.Get("Authorization"), old, new, 1))
}

func TestPresign(t *testing.T) {
	now := time.Now()
	f := newSim(t, func(c *Config) { c.Clock = func() time.Time { return now } })
	f.bucket(t, "presign")
	p := s3.NewPresignClient(s3.NewFromConfig(f.aws()))
	key := "a b+c/é%"
	put, err := p.PresignPutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String("presign"), Key: &key}, s3.WithPresignExpires(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	get, err := p.PresignGetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String("presign"), Key: &key}, s3.WithPresignExpires(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	do := func(method, u, body string) string {
		req, err := http.NewRequestWithContext(t.Context(), method, u, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		return f.s3Code(t, req)
	}
	for _, tc := range []struct{ name, method, url, code string }{
		{"put", "PUT", put.URL, ""},
		{"get", "GET", get.URL, ""},
		{"get with put's URL", "GET", put.URL, "SignatureDoesNotMatch"},
		{"changed", "GET", get.URL + "&x=y", "SignatureDoesNotMatch"},
		{"longer", "GET", strings.Replace(get.URL, "X-Amz-Expires=3600", "X-Amz-Expires=7200", 1), "SignatureDoesNotMatch"},
		{"too long", "GET", strings.Replace(get.URL, "X-Amz-Expires=3600", "X-Amz-Expires=604801", 1), "AuthorizationQueryParametersError"},
		{"twice", "GET", get.URL + "&X-Amz-Expires=9999", "AuthorizationQueryParametersError"},
	} {
		if got := do(tc.method, tc.url, "body"); got != tc.code {
			t.Errorf("%s: %q, want %q", tc.name, got, tc.code)
		}
	}
	now = now.Add(time.Hour + 2*time.Second)
	if got := do("GET", get.URL, ""); got != "AccessDenied" {
		t.Errorf("expired: %q, want AccessDenied", got)
	}
}

// TestPermissions: roles' policies, session policies, bucket policies and
// accounts.
func TestPermissions(t *testing.T) {
	f := newSim(t, nil)
	f.bucket(t, "mine")
	if err := f.PutBucket(Bucket{Account: otherAccount, Region: "us-east-1", Name: "theirs"}); err != nil {
		t.Fatal(err)
	}
	for _, b := range []string{"mine", "theirs"} {
		for _, k := range []string{"public/k", "private/k"} {
			if err := f.PutObject(b, k, strings.NewReader("x")); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := f.PutUser(User{Account: testAccount, Name: "limited", Policy: `{"Version":"2012-10-17","Statement":[
		{"Effect":"Allow","Action":["s3:Get*","s3:ListBucket"],"Resource":["arn:aws:s3:::mine","arn:aws:s3:::mine/*","arn:aws:s3:::theirs/*"]},
		{"Effect":"Deny","Action":"s3:GetObject","Resource":"arn:aws:s3:::mine/private/*"}]}`}); err != nil {
		t.Fatal(err)
	}
	limited, err := f.AccessKey(testAccount, "limited")
	if err != nil {
		t.Fatal(err)
	}
	owner, err := f.AccessKey(otherAccount, "owner")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s3.NewFromConfig(f.aws(owner.ID, owner.Secret, "")).PutBucketPolicy(t.Context(), &s3.PutBucketPolicyInput{Bucket: aws.String("theirs"), Policy: aws.String(
		`{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::111122223333:root"},"Action":"s3:GetObject","Resource":"arn:aws:s3:::theirs/public/*"}}`)}); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		creds             []string
		bucket, key, code string
	}{
		{nil, "mine", "private/k", ""},
		{nil, "theirs", "public/k", ""},
		{nil, "theirs", "private/k", "AccessDenied"},
		{[]string{limited.ID, limited.Secret, ""}, "mine", "public/k", ""},
		{[]string{limited.ID, limited.Secret, ""}, "mine", "private/k", "AccessDenied"},
		{[]string{limited.ID, limited.Secret, ""}, "theirs", "public/k", ""},
		{[]string{owner.ID, owner.Secret, ""}, "theirs", "private/k", ""},
		{[]string{owner.ID, owner.Secret, ""}, "mine", "public/k", "AccessDenied"},
	} {
		_, err := s3.NewFromConfig(f.aws(tc.creds...)).GetObject(t.Context(), &s3.GetObjectInput{Bucket: &tc.bucket, Key: &tc.key})
		if apiCode(err) != tc.code {
			t.Errorf("%v %s/%s: %v, want %q", tc.creds, tc.bucket, tc.key, err, tc.code)
		}
	}
	c := s3.NewFromConfig(f.aws(limited.ID, limited.Secret, ""))
	_, err = c.PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String("mine"), Key: aws.String("k"), Body: strings.NewReader("x")})
	want := `User: arn:aws:iam::111122223333:user/limited is not authorized to perform: s3:PutObject on resource: "arn:aws:s3:::mine/k" because no identity-based policy allows the s3:PutObject action`
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%v\nwant %s", err, want)
	}
	denials := 0
	for _, r := range f.records(t) {
		if r["errorCode"] == "AccessDenied" && r["eventName"] == "PutObject" && r["recipientAccountId"] == testAccount {
			denials++
		}
	}
	if denials != 1 {
		t.Errorf("%d denials of PutObject on record, want 1", denials)
	}
}

// TestProtocols: h2 and http/1.1, names that are not AWS's, SNI that differs
// from Host.
func TestProtocols(t *testing.T) {
	f := newSim(t, nil)
	for _, tc := range []struct {
		protocols []string
		major     int
	}{{nil, 2}, {[]string{"http/1.1"}, 1}} {
		client := dialClient(t, f.Sim, tc.protocols)
		res, err := client.Do(f.signed(t, "GET", "https://sts.us-east-1.amazonaws.com/?Action=GetCallerIdentity&Version=2011-06-15", "", nil, time.Now()))
		if err != nil {
			t.Fatal(err)
		}
		if body := readAll(t, res.Body); res.ProtoMajor != tc.major || res.StatusCode != 200 {
			t.Errorf("HTTP/%d %d %s", res.ProtoMajor, res.StatusCode, body)
		}
	}
	if res, err := f.client.Get("https://www.example.com/"); err == nil {
		readAll(t, res.Body)
		t.Error("a certificate was made for www.example.com")
	}
	req := f.signed(t, "GET", "https://sts.us-east-1.amazonaws.com/?Action=GetCallerIdentity&Version=2011-06-15", "", nil, time.Now())
	req.Host = "iam.amazonaws.com"
	res, err := f.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if readAll(t, res.Body); res.StatusCode != http.StatusMisdirectedRequest {
		t.Errorf("Host other than SNI: %d", res.StatusCode)
	}
}
