package cloudtrail

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go/logging"
	"github.com/rs/zerolog"

	"github.com/posternhq/postern/deploy/simaws"
	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/events/eventstest"
	"github.com/posternhq/postern/events/journal"
)

// cloud is a simulated AWS with a clock for CloudTrail, and an intake that reads
// from it, seen from one account.
type cloud struct {
	*simaws.Sim
	t       *testing.T
	account string
	j       *journal.Journal
	in      *Intake
	h       *streamHistory

	mu  sync.Mutex
	now time.Time
}

func (c *cloud) clock() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *cloud) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

const home = "us-east-1"

func newCloud(t *testing.T) *cloud {
	t.Helper()
	c := &cloud{t: t, account: "111122223333", now: time.Now().Add(-24 * time.Hour).Truncate(time.Hour)}
	var err error
	if c.Sim, err = simaws.New(simaws.Config{Dir: t.TempDir(), TrailDelay: -1, TrailClock: c.clock, Log: zerolog.Nop()}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("simaws: %v", err)
		}
	})
	key, err := c.AccessKey(c.account, "auditor")
	if err != nil {
		t.Fatal(err)
	}
	for k, v := range map[string]string{"AWS_ACCESS_KEY_ID": key.ID, "AWS_SECRET_ACCESS_KEY": key.Secret,
		"AWS_CONFIG_FILE": os.DevNull, "AWS_SHARED_CREDENTIALS_FILE": os.DevNull, "AWS_EC2_METADATA_DISABLED": "true", "AWS_REGION": home, "AWS_PAGER": ""} {
		t.Setenv(k, v)
	}
	a, err := NewAWS(AWSConfig{Region: home, Dial: c.Addr(), CAFile: c.CAFile()})
	if err != nil {
		t.Fatal(err)
	}
	c.j = eventstest.Journal(t)
	c.h = &streamHistory{c.j}
	c.in = NewIntake(a, NewIngester(c.j, zerolog.Nop()), c.h, c.j, zerolog.New(zerolog.NewTestWriter(t)))
	return c
}

// trail makes a bucket and a trail into it, and lets some hours pass, each with
// two log files and a digest.
func (c *cloud) trail(name string, hours int) simaws.Trail {
	c.t.Helper()
	bucket := "trail-" + name
	if err := c.PutBucket(simaws.Bucket{Account: c.account, Region: home, Name: bucket}); err != nil {
		c.t.Fatal(err)
	}
	tr := simaws.Trail{Account: c.account, HomeRegion: home, Name: name, Bucket: bucket, Digests: true}
	if err := c.PutTrail(tr); err != nil {
		c.t.Fatal(err)
	}
	c.hours(hours)
	return tr
}

func (c *cloud) hours(n int) {
	c.t.Helper()
	cfg, err := c.in.aws.base(c.t.Context())
	if err != nil {
		c.t.Fatal(err)
	}
	for range n {
		for range 2 {
			c.pass(20 * time.Minute)
			if _, err := sts.NewFromConfig(cfg).GetCallerIdentity(c.t.Context(), &sts.GetCallerIdentityInput{}); err != nil {
				c.t.Fatal(err)
			}
			if err := c.Flush(); err != nil {
				c.t.Fatal(err)
			}
		}
		c.pass(20 * time.Minute)
		if _, err := c.Digest(); err != nil {
			c.t.Fatal(err)
		}
	}
}

func (c *cloud) s3(bucket string) *s3.Client {
	c.t.Helper()
	client, err := c.in.aws.bucket(c.t.Context(), bucket)
	if err != nil {
		c.t.Fatal(err)
	}
	return client
}

// keys lists a bucket's objects that have a part in their key, in order.
func (c *cloud) keys(bucket, part string) []string {
	c.t.Helper()
	out, err := c.s3(bucket).ListObjectsV2(c.t.Context(), &s3.ListObjectsV2Input{Bucket: &bucket})
	if err != nil {
		c.t.Fatal(err)
	}
	var keys []string
	for _, o := range out.Contents {
		if strings.Contains(*o.Key, part) {
			keys = append(keys, *o.Key)
		}
	}
	return keys
}

func (c *cloud) get(bucket, key string) ([]byte, map[string]string) {
	c.t.Helper()
	o, err := c.in.aws.open(c.t.Context(), bucket, key)
	if err != nil {
		c.t.Fatal(err)
	}
	defer o.Close()
	b, err := io.ReadAll(o)
	if err != nil {
		c.t.Fatal(err)
	}
	return b, o.meta
}

func (c *cloud) put(bucket, key string, body []byte, meta map[string]string) {
	c.t.Helper()
	if _, err := c.s3(bucket).PutObject(c.t.Context(), &s3.PutObjectInput{Bucket: &bucket, Key: &key, Body: bytes.NewReader(body), Metadata: meta}); err != nil {
		c.t.Fatal(err)
	}
}

func (c *cloud) remove(bucket, key string) {
	c.t.Helper()
	if _, err := c.s3(bucket).DeleteObject(c.t.Context(), &s3.DeleteObjectInput{Bucket: &bucket, Key: aws.String(key)}); err != nil {
		c.t.Fatal(err)
	}
}

// cli runs the AWS CLI, whose connections all lead to the simulated AWS.
func (c *cloud) cli(args ...string) string {
	c.t.Helper()
	cmd := exec.Command("aws", args...)
	cmd.Env = append(os.Environ(), "HTTPS_PROXY="+c.connectProxy(), "AWS_CA_BUNDLE="+c.CAFile(), "LC_ALL=C.UTF-8", "AWS_DEFAULT_REGION="+home)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil && out.Len() == 0 {
		c.t.Fatalf("aws %q: %v\n%s", args, err, errs.String())
	}
	return out.String() + errs.String()
}

func (c *cloud) connectProxy() string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { _ = ln.Close() })
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				in := bufio.NewReader(conn)
				if _, err := http.ReadRequest(in); err != nil {
					return
				}
				up, err := net.Dial("tcp", c.Addr())
				if err != nil {
					return
				}
				defer up.Close()
				_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\n\r\n")
				go func() {
					_, _ = io.Copy(up, in)
					_ = up.(*net.TCPConn).CloseWrite()
				}()
				_, _ = io.Copy(conn, up)
			}()
		}
	}()
	return "http://" + ln.Addr().String()
}

// needsCLI skips where the AWS CLI is not.
func needsCLI(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("aws"); err != nil {
		t.Skipf("the AWS CLI is not on PATH: %v", err)
	}
}

// streamHistory answers from the streams themselves.
type streamHistory struct{ j *journal.Journal }

func (h *streamHistory) all(ctx context.Context, stream string, each func(events.Payload)) error {
	for e, err := range h.j.Replay(ctx, stream) {
		if err != nil {
			return err
		}
		each(e.Data)
	}
	return nil
}

func (h *streamHistory) Files(ctx context.Context, names []string) (map[string]FileState, error) {
	out := map[string]FileState{}
	err := h.all(ctx, events.CloudTrail, func(p events.Payload) {
		if d, ok := p.(*events.CloudTrailFileReceived); ok {
			for _, n := range names {
				if n == d.File {
					out[n] = FileState{d.ETag, d.SHA256}
				}
			}
		}
	})
	return out, err
}

func (h *streamHistory) LastDigest(ctx context.Context, c Chain, before time.Time) (last *events.CloudTrailDigestChecked, err error) {
	newest := map[string]*events.CloudTrailDigestChecked{} // what was said last of each
	err = h.all(ctx, events.CloudTrail, func(p events.Payload) {
		if d, ok := p.(*events.CloudTrailDigestChecked); ok && (Chain{d.Bucket, d.Account, d.Region, d.Trail, d.HomeRegion, d.Backfill}) == c {
			newest[d.Key] = d
		}
	})
	for _, d := range newest {
		if d.Verdict != events.DigestMissing && d.EndTime.Before(before) && (last == nil || last.EndTime.Before(d.EndTime)) {
			last = d
		}
	}
	return last, err
}

func (h *streamHistory) states(ctx context.Context) (map[Chain]map[string]DigestState, error) {
	out := map[Chain]map[string]DigestState{}
	for e, err := range h.j.Replay(ctx, events.CloudTrail) {
		if err != nil {
			return nil, err
		}
		if d, ok := e.Data.(*events.CloudTrailDigestChecked); ok {
			c := Chain{d.Bucket, d.Account, d.Region, d.Trail, d.HomeRegion, d.Backfill}
			if out[c] == nil {
				out[c] = map[string]DigestState{}
			}
			out[c][d.Key] = DigestState{d.Verdict, d.Reason, d.Signature, d.SHA256, d.LogsInvalid, e.Time}
		}
	}
	return out, nil
}

func (h *streamHistory) Chains(ctx context.Context, bucket, _ string) ([]Chain, error) {
	all, err := h.states(ctx)
	return slices.DeleteFunc(slices.Collect(maps.Keys(all)), func(c Chain) bool { return c.Bucket != bucket }), err
}

func (h *streamHistory) Digests(ctx context.Context, c Chain, since, until time.Time) (map[string]DigestState, error) {
	all, err := h.states(ctx)
	if err != nil || all[c] == nil {
		return map[string]DigestState{}, err
	}
	maps.DeleteFunc(all[c], func(key string, _ DigestState) bool {
		_, end, _ := chainOf(c.Bucket, key)
		return end.Before(since) || !until.IsZero() && end.After(until)
	})
	return all[c], nil
}

func (h *streamHistory) LiveChains(ctx context.Context, since time.Time) ([]LiveChain, error) {
	all, err := h.states(ctx)
	followed := map[string]bool{} // by the key, which names the trail
	if err == nil {
		err = h.all(ctx, events.CloudTrail, func(p events.Payload) {
			if d, ok := p.(*events.CloudTrailDigestChecked); ok && !d.Backfill {
				followed[d.PreviousKey] = true
			}
		})
	}
	var out []LiveChain
	for c, states := range all {
		live, last := 0, LiveChain{Chain: c}
		for key, s := range states {
			_, end, _ := chainOf(c.Bucket, key)
			if end.Before(since) {
				continue
			}
			if late := s.CheckedAt.Sub(end); late >= 0 && late <= LiveWithin {
				live++
			}
			if end.After(last.End) {
				last.Key, last.End = key, end
			}
		}
		if live >= LiveAtLeast && !c.Backfill && !followed[last.Key] {
			out = append(out, last)
		}
	}
	return out, err
}

func (h *streamHistory) Findings(ctx context.Context, ids []string) (map[string]string, error) {
	out := map[string]string{}
	err := h.all(ctx, events.Findings, func(p events.Payload) {
		for _, id := range ids {
			switch d := p.(type) {
			case *events.FindingOpened:
				if base, _, _ := strings.Cut(d.FindingID, "@"); base == id {
					out[id] = d.FindingID
				}
			case *events.FindingResolved:
				if base, _, _ := strings.Cut(d.FindingID, "@"); base == id {
					out[id] = ""
				}
			}
		}
	})
	return out, err
}

// verdicts are what trail_digests says of a trail's digest files, by key, with the reason.
func (c *cloud) verdicts(trail string) map[string]string {
	c.t.Helper()
	all, err := c.h.states(c.t.Context())
	if err != nil {
		c.t.Fatal(err)
	}
	out := map[string]string{}
	for chain, states := range all {
		for key, s := range states {
			if chain.Trail == trail {
				out[key] = strings.TrimSpace(s.Verdict + " " + s.Reason)
			}
		}
	}
	return out
}

// summaries are those of a trail's open findings.
func (c *cloud) summaries(trail string) []string {
	c.t.Helper()
	var out []string
	open := map[string]string{}
	err := c.h.all(c.t.Context(), events.Findings, func(p events.Payload) {
		switch d := p.(type) {
		case *events.FindingOpened:
			open[d.FindingID] = d.Kind + " " + d.Summary
		case *events.FindingResolved:
			delete(open, d.FindingID)
		}
	})
	if err != nil {
		c.t.Fatal(err)
	}
	for _, s := range open {
		if strings.Contains(s, "trail "+trail+" of ") {
			out = append(out, s)
		}
	}
	return out
}

func lines(v []string) string { return "\n\t" + strings.Join(v, "\n\t") }

type staticCredentials struct{ key simaws.AccessKey }

func (s staticCredentials) Retrieve(context.Context) (aws.Credentials, error) {
	return aws.Credentials{AccessKeyID: s.key.ID, SecretAccessKey: s.key.Secret}, nil
}

func TestSDKComplaintsAreLogged(t *testing.T) {
	var b bytes.Buffer
	a, err := NewAWS(AWSConfig{Region: home, Log: zerolog.New(&b)})
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := a.base(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	cfg.Logger.Logf(logging.Warn, "no checksum of %s", "key")
	var line struct{ Level, Message string }
	if err := json.Unmarshal(b.Bytes(), &line); err != nil || line.Level != "warn" || line.Message != "AWS SDK: no checksum of key" {
		t.Errorf("%q, %v", b.String(), err)
	}
}
