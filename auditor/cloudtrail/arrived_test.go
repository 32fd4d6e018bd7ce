package cloudtrail

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/posternhq/postern/deploy/simaws"
	"github.com/posternhq/postern/events"
)

// arrive tells the validator of digest files, as notifications do.
func (c *cloud) arrive(bucket string, keys ...string) {
	c.t.Helper()
	for _, k := range keys {
		if err := c.in.Validator().Arrived(c.t.Context(), bucket, k); err != nil {
			c.t.Fatal(err)
		}
	}
}

// Digest files that arrive in any order, late or doubled, are one chain.
func TestDigestsArrive(t *testing.T) {
	c := newCloud(t)
	tr := c.trail("main", 3)
	c.RotateTrailKey(home) // a new key from now on
	c.hours(3)
	d := c.keys(tr.Bucket, "/CloudTrail-Digest/")
	c.arrive(tr.Bucket, d[0], d[2], d[1], d[2], d[5], d[3], d[4])
	if s := c.summaries("main"); len(s) > 0 {
		t.Errorf("findings about a clean trail: %q", s)
	}
	records, files, _, _, digests := c.on()
	if records != 12 || files != 12 { // no notification told of them: the digests did
		t.Errorf("%d records, %d files", records, files)
	}
	seen := map[string]string{}
	for _, x := range digests {
		seen[x.Key] += x.Verdict
	}
	for _, k := range d {
		if seen[k] != events.DigestValid {
			t.Errorf("%s: %q", k, seen[k])
		}
	}
}

// What is tampered with between deliveries is found when the next digest comes, by
// a process that starts anew as well.
func TestTamperedWhileRunning(t *testing.T) {
	c := newCloud(t)
	tr := c.trail("main", 2)
	c.arrive(tr.Bucket, c.keys(tr.Bucket, "/CloudTrail-Digest/")...)
	c.hours(3)
	d, logs := c.keys(tr.Bucket, "/CloudTrail-Digest/"), c.keys(tr.Bucket, "/CloudTrail/")
	body, meta := c.get(tr.Bucket, d[2])
	c.remove(tr.Bucket, d[2])
	c.remove(tr.Bucket, d[3])
	c.remove(tr.Bucket, logs[9])
	c.in = NewIntake(c.in.aws, c.in.ingester, c.h, c.j, c.in.log)
	c.arrive(tr.Bucket, d[4])
	found := strings.Join(c.summaries("main"), "\n")
	for _, want := range []string{d[3] + ": not found", "more than one is gone", logs[9] + ": not found"} {
		if !strings.Contains(found, want) {
			t.Errorf("no finding %q in\n%s", want, found)
		}
	}
	if n := len(c.summaries("main")); n != 3 {
		t.Errorf("%d findings:\n%s", n, found)
	}
	// The file comes back: what is right again is resolved, once.
	c.put(tr.Bucket, d[2], body, meta)
	c.arrive(tr.Bucket, d[4])
	if now := strings.Join(c.summaries("main"), "\n"); strings.Contains(now, "more than one") || !strings.Contains(now, d[3]+": not found") {
		t.Errorf("after one file is back:\n%s", now)
	}
}

// A trail whose validation was off for a while begins a new chain: a gap, no
// tampering. Backfill digests are a chain of their own.
func TestGapAndBackfillDigests(t *testing.T) {
	needsCLI(t)
	c := newCloud(t)
	begin := c.clock()
	tr := c.trail("main", 2)
	off := tr
	off.Digests = false
	if err := c.PutTrail(off); err != nil {
		t.Fatal(err)
	}
	c.pass(2 * time.Hour)
	if err := c.PutTrail(tr); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Digest(); err != nil { // begins the new chain
		t.Fatal(err)
	}
	c.hours(2)
	for range 2 {
		c.pass(time.Minute)
		if _, err := c.BackfillDigest(); err != nil {
			t.Fatal(err)
		}
	}
	until := c.clock().Add(time.Minute)
	cli, said := c.cliVerdict(tr, begin, until)
	got, err := c.in.Validator().Validate(t.Context(), "s3://"+tr.Bucket, Filter{Since: begin, Until: until}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(counts(cli), counts(got)); d != "" || got.BackfillValid != 2 || got.DigestsInvalid != 0 {
		t.Errorf("(-AWS CLI +postern):\n%s%s%s", d, said, lines(got.Problems))
	}
	s := c.summaries("main")
	if len(s) != 1 || !strings.HasPrefix(s[0], "trail_gap ") || !strings.Contains(said, "No log files were delivered") {
		t.Errorf("findings %q; the AWS CLI says\n%s", s, said)
	}
}

// A trail that is given another bucket, and its first one again, goes on: neither is
// anything gone, nor is it silent.
func TestTrailInAnotherBucket(t *testing.T) {
	c := newCloud(t)
	c.pass(time.Since(c.clock()) - 2*time.Hour)
	tr := c.trail("main", 0)
	begin := c.clock()
	other := tr
	other.Bucket = "trail-other"
	if err := c.PutBucket(simaws.Bucket{Account: c.account, Region: home, Name: other.Bucket}); err != nil {
		t.Fatal(err)
	}
	arrive := func(bucket string, hours int) (last string) {
		t.Helper()
		for range hours {
			c.pass(15 * time.Minute)
			if _, err := c.Digest(); err != nil {
				t.Fatal(err)
			}
			d := c.keys(bucket, "/CloudTrail-Digest/")
			last = d[len(d)-1]
			c.arrive(bucket, last)
		}
		return last
	}
	silent := func(last string) {
		t.Helper()
		_, end, _ := chainOf("", last)
		c.in.now = func() time.Time { return end.Add(silentAfter + time.Minute) }
		if err := c.in.Validator().Silent(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	clean := func(when string) {
		t.Helper()
		if s := c.summaries("main"); len(s) > 0 {
			t.Errorf("%s:%s", when, lines(s))
		}
	}
	silent(arrive(tr.Bucket, 3))
	if s := c.summaries("main"); len(s) != 1 || !strings.Contains(s[0], "no digest file since") {
		t.Fatalf("it is silent:%s", lines(s))
	}
	move := func(to simaws.Trail) {
		t.Helper()
		if err := c.PutTrail(to); err != nil {
			t.Fatal(err)
		}
	}
	move(other)
	arrive(other.Bucket, 1)
	clean("it goes on in another bucket")
	arrive(other.Bucket, 1)
	_, first, _ := chainOf("", c.keys(tr.Bucket, "/CloudTrail-Digest/")[2])
	c.in.now = func() time.Time { return first.Add(silentAfter + time.Minute) }
	if err := c.in.Validator().Silent(t.Context()); err != nil {
		t.Fatal(err)
	}
	clean("and is not silent")
	for _, bucket := range []string{tr.Bucket, other.Bucket} {
		if v := c.validate(bucket, Filter{Since: begin}); v.DigestsInvalid != 0 || len(v.Problems) > 0 {
			t.Errorf("%s: %+v", bucket, v)
		}
	}
	move(tr)
	arrive(tr.Bucket, 2)
	clean("it is back")
	if v := c.validate(tr.Bucket, Filter{Since: begin}); v.DigestsValid != 5 || v.DigestsInvalid != 0 || len(v.Problems) > 0 {
		t.Errorf("%+v", v)
	}
	clean("in the end")
}

// judgeChain, given what is known before and what comes.
func TestJudgeChain(t *testing.T) {
	at := func(h int) time.Time { return time.Date(2026, 1, 1, h, 0, 0, 0, time.UTC) }
	key := func(h int) string {
		return "AWSLogs/111122223333/CloudTrail-Digest/us-east-1/2026/01/01/111122223333_CloudTrail-Digest_us-east-1_t_us-east-1_" + at(h).Format(digestTime) + ".json.gz"
	}
	good := func(h int) link {
		return link{key: key(h), verdict: events.DigestValid, start: at(h - 1), end: at(h), signature: key(h), previous: key(h - 1), previousSignature: key(h - 1)}
	}
	first := func(h int) link {
		l := good(h)
		l.previous, l.previousSignature = "", ""
		return l
	}
	bad := link{key: key(2), verdict: events.DigestInvalid, reason: "x", end: at(2)}
	forged := good(3)
	forged.previousSignature = "other"
	two := good(2)
	for _, x := range []struct {
		name   string
		before *link
		since  time.Time
		links  []link
		want   []string // kind, key, missing
	}{
		{"the start of a chain", nil, time.Time{}, []link{first(1), good(2)}, nil},
		{"in the middle of a chain", nil, time.Time{}, []link{good(5), good(6)}, nil},
		{"further back was asked for", nil, at(3), []link{good(5)}, []string{"trail_tampered " + key(4) + " missing"}},
		{"it follows what is known", &two, time.Time{}, []link{good(3)}, nil},
		{"one is gone", &two, time.Time{}, []link{good(4)}, []string{"trail_tampered " + key(3) + " missing"}},
		{"two are gone", &two, time.Time{}, []link{good(5)}, []string{"trail_tampered " + key(4) + " missing", "trail_tampered " + key(5)}},
		{"an invalid one, and what follows it", nil, time.Time{}, []link{first(1), bad, good(3)}, []string{"trail_tampered " + key(2)}},
		{"another was followed", &two, time.Time{}, []link{forged}, []string{"trail_tampered " + key(2)}},
		{"a new chain at once", &two, time.Time{}, []link{first(3)}, nil},
		{"a new chain later", &two, time.Time{}, []link{first(6)}, []string{"trail_gap " + key(6)}},
	} {
		var got []string
		for _, f := range judgeChain(x.before, x.since, x.links) {
			s := f.kind + " " + f.key
			if f.missing {
				s += " missing"
			}
			got = append(got, s)
		}
		if d := cmp.Diff(x.want, got); d != "" {
			t.Errorf("%s (-want +got):\n%s", x.name, d)
		}
	}
}

// What GetObject gives is anybody's: reading it never fails otherwise than by
// saying what is wrong.
func FuzzReadDigest(f *testing.F) {
	f.Add(zipped(`{"digestPublicKeyFingerprint":"f","digestS3Bucket":"b","digestS3Object":"k","previousDigestSignature":null,"digestEndTime":"2026-01-01T01:00:00Z","digestStartTime":"2026-01-01T00:00:00Z","logFiles":[]}`))
	f.Add(zipped(`{"digestStartTime":7}`, `{}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := readDigest(strings.NewReader(string(b)), map[string]string{"signature": "ab", "signature-algorithm": "SHA256withRSA"}, Chain{})
		if (d == nil) == (err == nil) {
			t.Fatal(d, err)
		}
		if _, ok := err.(digestError); err != nil && !ok {
			t.Fatal(err)
		}
	})
}
