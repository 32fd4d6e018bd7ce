package cloudtrail

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/rs/zerolog"

	"github.com/posternhq/postern/events"
)

// faulty spoils answers of AWS.
type faulty struct {
	aws.HTTPClient
	spoil func(*http.Request, *http.Response)
}

func (f faulty) Do(r *http.Request) (*http.Response, error) {
	res, err := f.HTTPClient.Do(r)
	if err == nil {
		f.spoil(r, res)
	}
	return res, err
}

// spoil has answers spoiled from now on.
func (c *cloud) spoil(how func(*http.Request, *http.Response)) {
	base := c.in.aws.base
	c.in.aws.base = func(ctx context.Context) (aws.Config, error) {
		cfg, err := base(ctx)
		cfg.HTTPClient = faulty{cfg.HTTPClient, how}
		return cfg, err
	}
	clear(c.in.aws.buckets)
}

// A connection that breaks off says nothing about the file that was read: nothing is set
// aside or called tampered with, and the file is read another time.
func TestConnectionBreaksOff(t *testing.T) {
	c := newCloud(t)
	tr := c.trail("main", 2)
	d, logs := c.keys(tr.Bucket, "/CloudTrail-Digest/"), c.keys(tr.Bucket, "/CloudTrail/")
	var mu sync.Mutex
	breaks := map[string]int{} // how often reading an object breaks off
	whole := false             // nobody says where an answer begins
	c.spoil(func(r *http.Request, res *http.Response) {
		mu.Lock()
		defer mu.Unlock()
		if whole {
			res.Header.Del("Content-Range")
		}
		key := strings.TrimPrefix(strings.TrimPrefix(r.URL.Path, "/"), tr.Bucket+"/")
		if r.Method != http.MethodGet || breaks[key] == 0 {
			return
		}
		breaks[key]--
		res.Body = struct {
			io.Reader
			io.Closer
		}{io.MultiReader(io.LimitReader(res.Body, 40), iotest.ErrReader(io.ErrUnexpectedEOF)), res.Body}
	})
	set := func(n int, keys ...string) {
		mu.Lock()
		defer mu.Unlock()
		for _, k := range keys {
			breaks[k] = n
		}
	}
	clean := func(when string) {
		t.Helper()
		if s := c.summaries("main"); len(s) > 0 {
			t.Errorf("%s: findings%s", when, lines(s))
		}
		for key, said := range c.verdicts("main") {
			if said != "valid" {
				t.Errorf("%s: %s is %s", when, key, said)
			}
		}
		if err := c.h.all(t.Context(), events.CloudTrail, func(p events.Payload) {
			if d, ok := p.(*events.CloudTrailFileRejected); ok {
				t.Errorf("%s: %s is set aside: %s", when, d.File, d.Reason)
			}
		}); err != nil {
			t.Fatal(err)
		}
	}
	const always = 1000
	for _, key := range []string{logs[0], d[0]} {
		set(always, key)
		if res, err := c.in.Object(t.Context(), tr.Bucket, key); !errors.Is(err, io.ErrUnexpectedEOF) || errors.As(err, new(poison)) {
			t.Errorf("%s: %+v, %v", key, res, err)
		}
		clean(key)
		set(0, key)
	}
	set(always, logs[1]) // which the digest file has read
	if err := c.in.Validator().Arrived(t.Context(), tr.Bucket, d[0]); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a log file of a digest file: %v", err)
	}
	clean("a log file of a digest file")
	set(0, logs[1])
	set(1, d[0])
	whole = true
	if err := c.in.Validator().Arrived(t.Context(), tr.Bucket, d[0]); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("what goes on from another place: %v", err)
	}
	clean("what goes on from another place")
	whole = false
	// Once in a while it is gone on with.
	set(2, slices.Concat(d, logs)...)
	c.arrive(tr.Bucket, d...)
	if v := c.validate(tr.Bucket, Filter{}); v.DigestsValid != 2 || v.LogsValid != 4 || len(v.Problems) > 0 {
		t.Errorf("%+v", v)
	}
	clean("in the end")
	if records, files, rejected, _, _ := c.on(); records != 4 || files != 4 || rejected != 0 {
		t.Errorf("%d records in %d files, %d set aside", records, files, rejected)
	}
}

// That S3 could not say in which region a bucket is is not remembered as an answer.
func TestRegionIsAskedAgain(t *testing.T) {
	c := newCloud(t)
	tr := c.trail("main", 0)
	ill := true
	c.spoil(func(r *http.Request, res *http.Response) {
		res.Header.Set("X-Amz-Bucket-Region", "eu-west-1")
		if ill {
			res.Header.Del("X-Amz-Bucket-Region")
			res.StatusCode = http.StatusForbidden
		}
	})
	for _, want := range []string{home, "eu-west-1"} {
		client, err := c.in.aws.bucket(t.Context(), tr.Bucket)
		if err != nil {
			t.Fatal(err)
		}
		if got := client.Options().Region; got != want {
			t.Errorf("the bucket is asked in %s, want %s", got, want)
		}
		ill = false
	}
}

// A file that can't be read holds up none of the others.
func TestFilesThatCanNotBeRead(t *testing.T) {
	c := newCloud(t)
	dir := t.TempDir()
	files := []string{filepath.Join(dir, "gone.json")}
	for i := range 20 {
		name := filepath.Join(dir, string(rune('a'+i))+".json")
		files = append(files, name)
		if err := os.WriteFile(name, []byte(`{"Records":[{"eventName":"A","eventID":"`+filepath.Base(name)+`"}]}`), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	taken := 0
	err := NewIngester(c.j, zerolog.Nop()).files(t.Context(), files, func(string, Result) { taken++ })
	if !errors.Is(err, os.ErrNotExist) || taken != 20 {
		t.Errorf("%d files are taken in, want 20; %v", taken, err)
	}
}
