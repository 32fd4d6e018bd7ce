package cloudtrail

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/posternhq/postern/events"
)

// validate is Validate of a bucket.
func (c *cloud) validate(bucket string, f Filter) Validation {
	c.t.Helper()
	v, err := c.in.Validator().Validate(c.t.Context(), "s3://"+bucket, f, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	return v
}

// What was checked before and is gone is missed wherever it stood, and though nothing
// in the bucket names it; when it is back, all is as before.
func TestValidateMissesWhatIsGone(t *testing.T) {
	c := newCloud(t)
	for i, x := range []struct {
		name     string
		gone     []int
		invalid  int
		findings []int // about which
	}{
		{"the newest", []int{5}, 1, []int{5}},
		{"the newest two and the oldest two", []int{0, 1, 4, 5}, 4, []int{1, 5}},
		{"two between others", []int{2, 3}, 2, []int{3}},
		{"all", []int{0, 1, 2, 3, 4, 5}, 6, []int{5}},
	} {
		t.Run(x.name, func(t *testing.T) {
			c.t = t
			name := fmt.Sprintf("gone%d", i)
			tr := c.trail(name, 6)
			defer c.DeleteTrail(tr)
			d := c.keys(tr.Bucket, "/CloudTrail-Digest/")
			if v := c.validate(tr.Bucket, Filter{}); v.DigestsValid != 6 || v.DigestsInvalid != 0 || len(d) != 6 {
				t.Fatalf("before: %+v", v)
			}
			type file struct {
				body []byte
				meta map[string]string
			}
			kept := map[string]file{}
			for _, n := range x.gone {
				body, meta := c.get(tr.Bucket, d[n])
				kept[d[n]] = file{body, meta}
				c.remove(tr.Bucket, d[n])
			}
			for range 2 { // the second time it finds the same
				v := c.validate(tr.Bucket, Filter{})
				if v.DigestsValid != 6-x.invalid || v.DigestsInvalid != x.invalid || len(v.Problems) < x.invalid {
					t.Errorf("gone: %s%s", counts(v), lines(v.Problems))
				}
				found := strings.Join(c.summaries(name), "\n")
				for _, n := range x.findings {
					if !strings.Contains(found, d[n]+": not found") {
						t.Errorf("no finding about %s in\n%s", d[n], found)
					}
				}
				if n := strings.Count(found, ": not found"); n != len(x.findings) {
					t.Errorf("%d findings:\n%s", n, found)
				}
				says := c.verdicts(name)
				for n, key := range d {
					if missing := strings.HasPrefix(says[key], events.DigestMissing); missing != slices.Contains(x.gone, n) {
						t.Errorf("%s is %q", key, says[key])
					}
				}
			}
			// Another range has nothing to do with it.
			if v := c.validate(tr.Bucket, Filter{Since: c.clock().Add(time.Hour)}); counts(v) != counts(Validation{}) || len(v.Problems) > 0 {
				t.Errorf("of a time without digest files: %+v", v)
			}
			for key, f := range kept {
				c.put(tr.Bucket, key, f.body, f.meta)
			}
			v := c.validate(tr.Bucket, Filter{})
			if v.DigestsValid != 6 || v.DigestsInvalid != 0 || len(v.Problems) > 0 || len(c.summaries(name)) > 0 {
				t.Errorf("restored: %s%s\n%q", counts(v), lines(v.Problems), c.summaries(name))
			}
			for key, says := range c.verdicts(name) {
				if says != events.DigestValid {
					t.Errorf("restored: %s is %q", key, says)
				}
			}
		})
	}
}

// What was said of a digest file is not said again.
func TestNothingNewIsNoEvent(t *testing.T) {
	c := newCloud(t)
	tr := c.trail("main", 3)
	c.validate(tr.Bucket, Filter{})
	before := c.said()
	c.validate(tr.Bucket, Filter{})
	c.arrive(tr.Bucket, c.keys(tr.Bucket, "/CloudTrail-Digest/")...)
	if d := cmp.Diff(before, c.said()); d != "" || before == 0 {
		t.Errorf("events about digest files: %s", d)
	}
}

// said counts the events about digest files.
func (c *cloud) said() (n int) {
	c.t.Helper()
	if err := c.h.all(context.WithoutCancel(c.t.Context()), events.CloudTrail, func(p events.Payload) {
		if _, ok := p.(*events.CloudTrailDigestChecked); ok {
			n++
		}
	}); err != nil {
		c.t.Fatal(err)
	}
	return n
}

// A range that begins after a gap says nothing of it: neither that it is there, nor
// that it is not.
func TestValidateOfLaterLeavesGapAlone(t *testing.T) {
	c := newCloud(t)
	tr := c.trail("main", 6)
	d := c.keys(tr.Bucket, "/CloudTrail-Digest/")
	c.validate(tr.Bucket, Filter{})
	c.remove(tr.Bucket, d[2])
	c.remove(tr.Bucket, d[3])
	c.validate(tr.Bucket, Filter{})
	said, found := c.verdicts("main"), c.summaries("main")
	_, end, _ := chainOf(tr.Bucket, d[4])
	if v := c.validate(tr.Bucket, Filter{Since: end}); v.DigestsValid != 2 {
		t.Errorf("later ones: %+v", v)
	}
	slices.Sort(found)
	now := c.summaries("main")
	slices.Sort(now)
	if d := cmp.Diff(found, now) + cmp.Diff(said, c.verdicts("main")); d != "" || len(found) != 2 {
		t.Errorf("after a look at later ones (-before +after), %q: %s", found, d)
	}
}
