package people_test

import (
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/posternhq/postern/broker/people"
	"github.com/posternhq/postern/broker/sealed"
	"github.com/posternhq/postern/events/eventstest"
)

// Of brokers that see somebody for the first time at once, all use one pseudonym,
// which is of one connector alone, and leave no other behind.
func TestOnePseudonym(t *testing.T) {
	ctx, now := t.Context(), time.Unix(1_768_478_400, 0)
	bucket, err := eventstest.Journal(t).Bucket(ctx, sealed.Bucket, 1)
	if err != nil {
		t.Fatal(err)
	}
	store, err := sealed.Open(ctx, bucket, sealed.NewKey())
	if err != nil {
		t.Fatal(err)
	}
	var got [8]string
	var wg sync.WaitGroup
	for i := range got {
		r := people.NewRegister(store, []byte("the brokers' key"))
		wg.Go(func() {
			p, err := r.Pseudonym(ctx, "okta", "Erin", now)
			if err != nil {
				t.Error(err)
			}
			got[i] = p
		})
	}
	wg.Wait()
	r := people.NewRegister(store, []byte("the brokers' key"))
	for _, p := range got {
		if p != got[0] || !people.IsPseudonym(p) {
			t.Errorf("pseudonyms %q", got)
		}
	}
	all, err := r.All(ctx)
	if err != nil || len(all) != 1 || all[0] != (people.Person{Pseudonym: got[0], Name: "Erin", Connector: "okta", Since: now.UTC()}) {
		t.Errorf("known are %+v, %v", all, err)
	}
	for _, other := range [][2]string{{"", "Erin"}, {"okt", "aErin"}, {"okta", "erin"}} {
		if p, err := r.Find(ctx, other[0], other[1]); !errors.Is(err, people.ErrUnknown) {
			t.Errorf("%q is %s, %v", other, p, err)
		}
	}
	for range 2 { // the second time there is nothing left
		if err := r.Forget(ctx, got[0]); err != nil {
			t.Error(err)
		}
	}
	if names, err := store.List(ctx, ""); err != nil || len(names) != 0 {
		t.Errorf("left in the store: %q, %v", names, err)
	}
	if p, err := r.Pseudonym(ctx, "okta", "Erin", now); err != nil || p == got[0] {
		t.Errorf("again %s, %v", p, err)
	}
}
