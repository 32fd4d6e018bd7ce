package simaws

import (
	"bytes"
	"encoding/xml"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// regionPoint makes buckets in two regions and a Multi-Region Access Point for them, and
// returns its ARN.
func (f *fixture) regionPoint(t *testing.T) string {
	t.Helper()
	for name, region := range map[string]string{"near": "us-east-1", "far": "eu-central-1"} {
		if err := f.PutBucket(Bucket{Account: testAccount, Region: region, Name: name}); err != nil {
			t.Fatal(err)
		}
	}
	control := func(method, path, body string) []byte {
		req, err := http.NewRequestWithContext(t.Context(), method, "https://"+testAccount+".s3-control.us-west-2.amazonaws.com"+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		hash := sha256Hex([]byte(body))
		req.Header.Set("X-Amz-Content-Sha256", hash)
		req.Header.Set("X-Amz-Account-Id", testAccount)
		creds := aws.Credentials{AccessKeyID: f.key.ID, SecretAccessKey: f.key.Secret}
		if err := v4.NewSigner().SignHTTP(t.Context(), creds, req, hash, "s3", "us-west-2", time.Now()); err != nil {
			t.Fatal(err)
		}
		resp, err := f.client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		text := readAll(t, resp.Body)
		if resp.StatusCode != http.StatusOK {
			t.Fatalf("%s %s: %s\n%s", method, path, resp.Status, text)
		}
		return []byte(text)
	}
	control(http.MethodPost, "/v20180820/async-requests/mrap/create", `<CreateMultiRegionAccessPointRequest xmlns="http://awss3control.amazonaws.com/doc/2018-08-20/"><ClientToken>t</ClientToken>`+
		`<Details><Name>point</Name><Regions><Region><Bucket>near</Bucket></Region><Region><Bucket>far</Bucket></Region></Regions></Details></CreateMultiRegionAccessPointRequest>`)
	var got struct {
		AccessPoint struct{ Alias, Status string }
	}
	if err := xml.Unmarshal(control(http.MethodGet, "/v20180820/mrap/instances/point", ""), &got); err != nil || got.AccessPoint.Status != "READY" {
		t.Fatalf("%+v, %v", got, err)
	}
	return "arn:aws:s3::" + testAccount + ":accesspoint/" + got.AccessPoint.Alias
}

// The AWS SDK for Go signs by SigV4A for a Multi-Region Access Point: what it signs is
// taken, and what another key signs, or what was changed since, is not.
func TestMultiRegionAccessPoint(t *testing.T) {
	f := newSim(t, nil)
	point := aws.String(f.regionPoint(t))
	c := s3.NewFromConfig(f.aws())
	for _, key := range []string{"plain", "with space", "plus+plus", "ü/日本語", "a//b", "100%"} {
		body := []byte(strings.Repeat(key, 20_000))
		for _, in := range []io.Reader{bytes.NewReader(body), struct{ io.Reader }{bytes.NewReader(body)}} { // the second can't seek
			if _, err := c.PutObject(t.Context(), &s3.PutObjectInput{Bucket: point, Key: &key, Body: in, ContentLength: aws.Int64(int64(len(body)))}); err != nil {
				t.Fatalf("put %q: %v", key, err)
			}
		}
		got, err := c.GetObject(t.Context(), &s3.GetObjectInput{Bucket: point, Key: &key})
		if err != nil {
			t.Fatalf("get %q: %v", key, err)
		}
		if text := readAll(t, got.Body); text != string(body) {
			t.Errorf("get %q: %d bytes of %d", key, len(text), len(body))
		}
		if _, err := c.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: aws.String("near"), Key: &key}); err != nil {
			t.Errorf("%q is not in the bucket: %v", key, err)
		}
		if strings.ContainsAny(key, " +ü%") {
			continue // this SDK presigns such paths as encoded twice, which S3 does not take
		}
		url, err := s3.NewPresignClient(c).PresignGetObject(t.Context(), &s3.GetObjectInput{Bucket: point, Key: &key})
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(url.URL, "X-Amz-Algorithm="+algorithmECDSA) {
			t.Fatalf("not by SigV4A: %s", url.URL)
		}
		for _, link := range []struct {
			url    string
			status int
		}{{url.URL, http.StatusOK}, {url.URL + "&response-content-type=text%2Fhtml", http.StatusForbidden},
			{strings.Replace(url.URL, "X-Amz-Region-Set=%2A", "X-Amz-Region-Set=eu-%2A", 1), http.StatusForbidden}} {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, link.url, nil)
			if err != nil {
				t.Fatal(err)
			}
			resp, err := f.client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			if text := readAll(t, resp.Body); resp.StatusCode != link.status {
				t.Errorf("%s: %s\n%s", link.url, resp.Status, text)
			}
		}
	}
	list, err := c.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: point})
	if err != nil || len(list.Contents) != 6 {
		t.Errorf("listed %+v, %v", list, err)
	}
	if _, err := c.GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String("arn:aws:s3::" + testAccount + ":accesspoint/mother.mrap"), Key: aws.String("plain")}); err == nil || !strings.Contains(err.Error(), "NoSuchBucket") {
		t.Errorf("an access point that is not there: %v", err)
	}
	forger := s3.NewFromConfig(f.aws(f.key.ID, "guess", ""))
	if _, err := forger.GetObject(t.Context(), &s3.GetObjectInput{Bucket: point, Key: aws.String("plain")}); err == nil || !strings.Contains(err.Error(), "SignatureDoesNotMatch") {
		t.Errorf("signed with another secret: %v", err)
	}
}

// A signature is good in the regions of its set.
func TestRegionSet(t *testing.T) {
	for _, tc := range []struct {
		set, region string
		want        bool
	}{{"*", "us-east-1", true}, {"us-east-1", "us-east-1", true}, {"eu-west-1, us-*", "us-east-1", true}, {"eu-*", "us-east-1", false}, {"us-east-11", "us-east-1", false}} {
		sig := &signature{alg: algorithmECDSA}
		if why := sig.setRegions(tc.set); why != "" {
			t.Fatal(why)
		}
		if got := coveredBy(sig.regions, tc.region); got != tc.want {
			t.Errorf("%s has %s: %v", tc.set, tc.region, got)
		}
	}
	for _, set := range []string{"", "us-east-1,", ","} {
		if (&signature{alg: algorithmECDSA}).setRegions(set) == "" {
			t.Errorf("%q is taken for a region set", set)
		}
	}
	f := newSim(t, nil)
	host := strings.TrimPrefix(f.regionPoint(t), "arn:aws:s3::"+testAccount+":accesspoint/") + ".accesspoint.s3-global.amazonaws.com"
	// By SigV4, the region is that of the bucket.
	for region, want := range map[string]string{"us-east-1": "NoSuchKey", "eu-central-1": "NoSuchKey", "ap-south-1": "expecting &#39;us-east-1&#39;"} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+host+"/x", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X-Amz-Content-Sha256", unsignedPayload)
		if err := v4.NewSigner().SignHTTP(t.Context(), aws.Credentials{AccessKeyID: f.key.ID, SecretAccessKey: f.key.Secret}, req, unsignedPayload, "s3", region, time.Now()); err != nil {
			t.Fatal(err)
		}
		resp, err := f.client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		if text := readAll(t, resp.Body); !strings.Contains(text, want) {
			t.Errorf("%s by SigV4: %s\n%s", region, resp.Status, text)
		}
	}
}
