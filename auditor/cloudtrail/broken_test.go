package cloudtrail

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/posternhq/postern/events"
)

// breaking is a way to S3 on which answers to GetObject break off, as net/http tells of a
// connection that is lost.
type breaking struct {
	s3.HTTPClient
	after int64  // bytes; -1: they don't break
	part  string // of the keys of objects that break
}

func (b *breaking) Do(r *http.Request) (*http.Response, error) {
	resp, err := b.HTTPClient.Do(r)
	if err == nil && b.after >= 0 && r.Method == http.MethodGet && r.URL.Query().Get("x-id") == "GetObject" && strings.Contains(r.URL.Path, b.part) {
		resp.Body = struct {
			io.Reader
			io.Closer
		}{io.MultiReader(io.LimitReader(resp.Body, b.after), iotest.ErrReader(io.ErrUnexpectedEOF)), resp.Body}
	}
	return resp, err
}

// A connection that is lost while a file is read says nothing of the file: nothing is set
// aside and nothing called tampered with, and the next try finds all well.
func TestConnectionLost(t *testing.T) {
	c := newCloud(t)
	tr := c.trail("main", 3)
	digests, logs := c.keys(tr.Bucket, "/CloudTrail-Digest/"), c.keys(tr.Bucket, "/CloudTrail/")
	way := &breaking{HTTPClient: c.s3(tr.Bucket).Options().HTTPClient}
	c.in.aws.buckets[tr.Bucket] = s3.New(c.s3(tr.Bucket).Options(), func(o *s3.Options) { o.HTTPClient = way })
	for _, way.after = range []int64{0, 5, 100} {
		if _, err := c.in.Object(t.Context(), tr.Bucket, logs[0]); err == nil {
			t.Errorf("a log file that breaks off after %d bytes is taken in", way.after)
		}
		if err := c.in.Validator().Arrived(t.Context(), tr.Bucket, digests[0]); err == nil {
			t.Errorf("a digest file that breaks off after %d bytes is judged", way.after)
		}
	}
	way.after = -1
	for _, key := range logs {
		if res, err := c.in.Object(t.Context(), tr.Bucket, key); err != nil || res.Rejected != "" {
			t.Errorf("%s: %+v, %v", key, res, err)
		}
	}
	c.arrive(tr.Bucket, digests...)
	// What is read again to be compared with its digest.
	way.after, way.part = 100, "/CloudTrail/"
	if _, err := c.in.Validator().Validate(t.Context(), "s3://"+tr.Bucket, Filter{}, nil); err == nil {
		t.Error("files that break off are judged")
	}
	way.after = -1
	if v := c.validate(tr.Bucket, Filter{}); v.DigestsInvalid != 0 || v.LogsInvalid != 0 || v.LogsValid != len(logs) {
		t.Errorf("%+v", v)
	}
	if s := c.summaries("main"); len(s) > 0 {
		t.Errorf("findings about a clean trail: %q", s)
	}
	set := 0
	if err := c.h.all(t.Context(), events.CloudTrail, func(p events.Payload) {
		if _, ok := p.(*events.CloudTrailFileRejected); ok {
			set++
		}
	}); err != nil || set > 0 {
		t.Errorf("%d files set aside, %v", set, err)
	}
}
