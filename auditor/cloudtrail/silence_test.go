package cloudtrail

import (
	"strings"
	"testing"
	"time"
)

// A chain whose digest files came, and come no more, is a gap, until the next comes. A
// past that was read is none, nor is a notification that was lost.
func TestSilentChain(t *testing.T) {
	c := newCloud(t)
	past := c.trail("past", 4) // ends most of a day ago
	c.DeleteTrail(past)
	c.pass(time.Since(c.clock()) - 2*time.Hour)
	tr := c.trail("main", 0)
	digest := func(after time.Duration) {
		t.Helper()
		c.pass(after)
		if _, err := c.Digest(); err != nil {
			t.Fatal(err)
		}
	}
	for range 3 {
		digest(30 * time.Minute)
	}
	d := c.keys(tr.Bucket, "/CloudTrail-Digest/")
	c.arrive(tr.Bucket, d...)
	c.arrive(past.Bucket, c.keys(past.Bucket, "/CloudTrail-Digest/")...)
	_, end, _ := chainOf(tr.Bucket, d[len(d)-1])
	silent := func(after time.Duration, want string) {
		t.Helper()
		c.in.now = func() time.Time { return end.Add(after) }
		if err := c.in.Validator().Silent(t.Context()); err != nil {
			t.Fatal(err)
		}
		s := append(c.summaries("main"), c.summaries("past")...)
		if found := strings.Join(s, "\n"); want == "" && found != "" || !strings.Contains(found, want) || len(s) > 1 {
			t.Errorf("%s after the last one, want %q:\n%s", after, want, found)
		}
	}
	silent(time.Hour, "")
	silent(119*time.Minute, "")
	silent(2*time.Hour, "no digest file since "+clock(end))
	silent(20*time.Hour, "no digest file since "+clock(end)) // and not once more

	// It goes on, in the bucket at first.
	digest(time.Hour)
	d = c.keys(tr.Bucket, "/CloudTrail-Digest/")
	c.arrive(tr.Bucket, d[len(d)-1])
	silent(2*time.Hour, "")
	digest(time.Hour) // of which nobody tells
	silent(195*time.Minute, "")
	d = c.keys(tr.Bucket, "/CloudTrail-Digest/")
	silent(4*time.Hour+time.Minute, d[len(d)-1])
	c.arrive(tr.Bucket, d[len(d)-1])
	silent(4*time.Hour+time.Minute, d[len(d)-1])
}

// A silence is one finding, though the file that it began after is taken away while it
// lasts, and ends with what comes next.
func TestSilenceAfterWhatIsGone(t *testing.T) {
	for name, began := range map[string]bool{"goes on": false, "begins anew": true} {
		t.Run(name, func(t *testing.T) {
			c := newCloud(t)
			c.pass(time.Since(c.clock()) - 2*time.Hour)
			tr := c.trail("main", 0)
			digest := func() {
				t.Helper()
				c.pass(30 * time.Minute)
				if _, err := c.Digest(); err != nil {
					t.Fatal(err)
				}
			}
			for range 4 {
				digest()
			}
			d := c.keys(tr.Bucket, "/CloudTrail-Digest/")
			c.arrive(tr.Bucket, d...)
			gone := d[len(d)-1]
			_, end, _ := chainOf(tr.Bucket, gone)
			gaps := func() (n int) {
				t.Helper()
				for _, s := range c.summaries("main") {
					if strings.HasPrefix(s, kindGap+" ") {
						n++
					}
				}
				return n
			}
			silent := func() {
				t.Helper()
				c.in.now = func() time.Time { return end.Add(3 * time.Hour) }
				if err := c.in.Validator().Silent(t.Context()); err != nil {
					t.Fatal(err)
				}
				if gaps() != 1 {
					t.Errorf("%d silences:%s", gaps(), lines(c.summaries("main")))
				}
			}
			silent()
			c.remove(tr.Bucket, gone)
			if v := c.validate(tr.Bucket, Filter{}); v.DigestsInvalid != 1 {
				t.Fatalf("%+v", v)
			}
			silent()
			if began {
				c.DeleteTrail(tr)
				if err := c.PutTrail(tr); err != nil {
					t.Fatal(err)
				}
			}
			digest()
			digest()
			clear(c.in.digests.chains) // another process, which knows what is stored
			c.arrive(tr.Bucket, c.keys(tr.Bucket, "/CloudTrail-Digest/")[len(d)-1:]...)
			if gaps() != 0 && !began {
				t.Errorf("it goes on:%s", lines(c.summaries("main")))
			}
			for _, s := range c.summaries("main") {
				if strings.Contains(s, "no digest file since") {
					t.Errorf("it is not silent any more: %s", s)
				}
			}
		})
	}
}
