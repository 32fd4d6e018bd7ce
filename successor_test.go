package main

import (
	"testing"
	"time"

	"github.com/posternhq/postern/proxy/local"
)

func TestSuccessor(t *testing.T) {
	p := &profile{dir: t.TempDir()}
	first := &appSession{SessionID: "S1", App: "a", AWSRoleARN: "arn:r", ExpiresAt: time.Now().Add(time.Hour)}
	save := func(app, id, role string, left time.Duration) {
		t.Helper()
		if err := p.saveApp(&appSession{SessionID: id, App: app, AWSRoleARN: role, Region: "eu-west-1", ExpiresAt: time.Now().Add(left)}); err != nil {
			t.Fatal(err)
		}
	}
	find := p.successor([]*appSession{first})
	over := local.Session{ID: "S1", App: "a"}
	is := func(when, want string, fails bool) {
		t.Helper()
		if got, err := find(over); got.ID != want || got.App != "a" || (err != nil) != fails {
			t.Errorf("%s: %+v, %v", when, got, err)
		}
	}
	is("with no file", "S1", false)
	save("a", "S1", "arn:r", time.Hour)
	is("with its own file", "S1", false)
	save("b", "S2", "arn:r", time.Hour)
	is("with another app's", "S1", false)
	save("a", "S2", "arn:r", -time.Hour)
	is("with one that expired", "S1", false)
	save("a", "S2", "arn:other", time.Hour)
	is("with another role", "S1", true)
	save("a", "S2", "arn:r", time.Hour)
	is("with a new one", "S2", false)
}
