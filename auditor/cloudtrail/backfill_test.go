package cloudtrail

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/posternhq/postern/deploy/simaws"
	"github.com/posternhq/postern/events"
)

// A backfill that is stopped goes on where it was, and what is malformed does not
// stop it.
func TestBackfill(t *testing.T) {
	c := newCloud(t)
	tr := c.trail("main", 12)
	c.DeleteTrail(tr)
	keys := c.keys(tr.Bucket, "/CloudTrail/")
	c.put(tr.Bucket, strings.Replace(keys[0], ".json.gz", "bad.json.gz", 1), []byte("no log"), nil)
	c.put(tr.Bucket, "AWSLogs/"+c.account+"/Config/x.json.gz", []byte("not CloudTrail's"), nil)
	address := "s3://" + tr.Bucket
	ctx, stop := context.WithCancel(t.Context())
	_, err := c.in.Backfill(ctx, address, Filter{}, func(p Backfilled) {
		if p.Files == 3 {
			stop()
		}
	})
	if err == nil {
		t.Fatal("a backfill that was stopped says it is done")
	}
	_, before, _, _, _ := c.on()
	p, err := c.in.Backfill(t.Context(), address, Filter{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	records, files, _, _, digests := c.on()
	if before == 0 || before == 24 || p.Known < before || p.Known+p.Files != 25 || p.Rejected != 1 || files != 24 || records != 24 || len(digests) != 12 {
		t.Errorf("%d files the first time; then %+v; %d records, %d files, %d digests", before, p, records, files, len(digests))
	}
	if s := c.summaries("main"); len(s) > 0 {
		t.Errorf("findings about a clean trail: %q", s)
	}
	// Times narrow it down.
	first, last := c.clock().Add(-2*time.Hour), c.clock().Add(-time.Hour)
	if p, err = c.in.Backfill(t.Context(), address, Filter{Since: first, Until: last}, nil); err != nil || p.Found < 2 || p.Found > 3 {
		t.Errorf("of one hour: %+v, %v", p, err)
	}
}

// An organization's trail, of many accounts and regions.
func TestOrganization(t *testing.T) {
	c := newCloud(t)
	const member = "444455556666"
	if err := c.PutBucket(simaws.Bucket{Account: c.account, Region: "eu-west-1", Name: "org-trail"}); err != nil {
		t.Fatal(err)
	}
	if err := c.PutTrail(simaws.Trail{Account: c.account, HomeRegion: home, Name: "org", Bucket: "org-trail", Prefix: "logs/all", MultiRegion: true,
		Organization: "o-exampleorg", Members: []string{member}, Digests: true}); err != nil {
		t.Fatal(err)
	}
	cfg, err := c.in.aws.base(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	key, err := c.AccessKey(member, "m")
	if err != nil {
		t.Fatal(err)
	}
	for _, region := range []string{home, "eu-west-1"} {
		for _, id := range []string{"", key.ID} {
			one := cfg.Copy()
			one.Region = region
			if id != "" {
				one.Credentials = staticCredentials{key}
			}
			if _, err := sts.NewFromConfig(one).GetCallerIdentity(t.Context(), &sts.GetCallerIdentityInput{}); err != nil {
				t.Fatal(err)
			}
		}
	}
	c.pass(time.Minute)
	if err := c.Flush(); err != nil {
		t.Fatal(err)
	}
	c.pass(time.Minute)
	if _, err := c.Digest(); err != nil {
		t.Fatal(err)
	}
	for _, x := range []struct {
		f    Filter
		want int
	}{{Filter{Account: member}, 2}, {Filter{Account: member, Region: "eu-west-1"}, 1}, {Filter{Region: home}, 2}, {Filter{}, 4}} {
		p, err := c.in.Backfill(t.Context(), "s3://org-trail/logs/", x.f, nil)
		if err != nil || p.Found != x.want {
			t.Errorf("%+v: %+v, %v; want %d files", x.f, p, err, x.want)
		}
	}
	_, _, _, _, digests := c.on()
	chains := map[string]bool{}
	for _, d := range digests {
		chains[d.Account+" "+d.Region] = true
		if d.Verdict != events.DigestValid || d.Reason != "" {
			t.Errorf("%+v", d)
		}
	}
	if len(chains) != 4 {
		t.Errorf("chains %v, want 4", chains)
	}
	if err := c.in.ObserveTrails(t.Context(), map[string]events.CloudTrailTrailObserved{}); err != nil {
		t.Fatal(err)
	}
	seen := 0
	if err := c.h.all(t.Context(), events.CloudTrail, func(p events.Payload) {
		if d, ok := p.(*events.CloudTrailTrailObserved); ok && d.Organization && d.MultiRegion && d.Logging && d.Validation &&
			d.EventSelectors == `[{"DataResources":[],"ExcludeManagementEventSources":[],"IncludeManagementEvents":true,"ReadWriteType":"All"}]` {
			seen++
		}
	}); err != nil || seen != 1 {
		t.Errorf("%d trails observed, %v", seen, err)
	}
}

// LookupEvents: every management event once, over pages, at the pace that AWS
// allows; from where it was the next time.
func TestLookup(t *testing.T) {
	c := newCloud(t)
	cfg, err := c.in.aws.base(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	client := sts.NewFromConfig(cfg)
	call := func(n int) {
		for range n {
			if _, err := client.GetCallerIdentity(t.Context(), &sts.GetCallerIdentityInput{}); err != nil {
				t.Fatal(err)
			}
		}
	}
	call(60)
	dir := t.TempDir()
	l := NewLookup(c.in, []string{home}, dir)
	l.upTo[home] = time.Now().Add(-time.Hour) // else it reads 90 days in windows
	n, err := l.Look(t.Context(), home)
	if err != nil {
		t.Fatal(err)
	}
	records, _, _, _, _ := c.on()
	if n < 60 || records != n {
		t.Errorf("%d events, %d records", n, records)
	}
	call(5)
	again := NewLookup(c.in, []string{home}, dir)
	if err := again.load(); err != nil || again.upTo[home].Before(time.Now().Add(-20*time.Minute)) {
		t.Fatalf("remembers %v, %v", again.upTo, err)
	}
	if _, err := again.Look(t.Context(), home); err != nil {
		t.Fatal(err)
	}
	if more, _, _, _, _ := c.on(); more < records+5 {
		t.Errorf("%d records, then %d", records, more)
	}
}
