package main

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/posternhq/postern/auditor/query"
	"github.com/posternhq/postern/broker/api"
	"github.com/posternhq/postern/broker/policy"
)

// What follows --resource X is more of it; anything else is told what it may have been.
func TestMoreResources(t *testing.T) {
	const arn = "arn:aws:iam::123456789012:role/Admin"
	in := api.CreateRequest{Resources: []string{arn}}
	if err := moreResources(&in, []string{arn + "2", "123456789012"}); err != nil || !slices.Equal(in.Resources, []string{arn, arn + "2", "123456789012"}) {
		t.Errorf("%v, %v", in.Resources, err)
	}
	for _, in := range []api.CreateRequest{{Roles: []string{"a"}}, {Resources: []string{arn}}} {
		if err := moreResources(&in, []string{"b"}); err == nil || !strings.Contains(err.Error(), "--roles a,b") {
			t.Errorf("%v", err)
		}
	}
	if got := trimmed([]string{"a", " b ", ""}); !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("%q", got)
	}
}

// An edit is of one resource, which stays what it is.
func TestSameResource(t *testing.T) {
	const role = "kind: role\nversion: v7\nmetadata: {name: a, revision: '3'}\nspec: {}\n"
	for text, want := range map[string]string{
		role:                                    "",
		"---\n" + role:                          "",
		"kind: [":                               "", // the broker says what is wrong with it
		strings.ReplaceAll(role, "a,", "b,"):    "this is role/b, and role/a was to be edited",
		strings.ReplaceAll(role, "role", "app"): "this is app/a",
		role + "---\n" + role:                   "several documents",
	} {
		err := sameResource([]byte(text), "role", "a")
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s\n%v, want %q", text, err, want)
		}
	}
}

func TestPlain(t *testing.T) {
	if got := oneLine("INC-1 \u202eevorppa\u2066x\u2069\u2028State: approved é עברית"); got != "INC-1  evorppa x  State: approved é עברית" {
		t.Errorf("%q", got)
	}
	if got := plain("locked: \x1b[2J\x1b]0;x\aback\n  next\u009b31m\n"); strings.ContainsAny(got, "\x1b\a\u009b") || strings.Count(got, "\n") != 2 {
		t.Errorf("%q", got)
	}
}

// What stands in CloudTrail's files, or comes of a service, moves no cursor and forges no
// line, wherever a command prints it.
func TestPrintedForPeople(t *testing.T) {
	var out, said strings.Builder
	c := &cli{stdout: &out, stderr: &said, format: "text"}
	const wild = "a\x1b[2Jb\nc\td\u009b31m"
	page := &query.Page{Entries: []query.Entry{{CloudTrail: &query.Record{EventSource: wild, EventName: wild, EventID: wild}}}}
	err := c.print(page, func(w *tabwriter.Writer) {
		printPage(w, page)
		printCoverage(w, &query.Coverage{Offenders: []query.Offender{{User: "u", Account: wild}}})
		fmt.Fprintf(w, "as it came\t%s\n", "\x1b[31m\u009b31m")
	})
	if err != nil {
		t.Fatal(err)
	}
	c.say("set aside: %s", "\x1b]0;title\a")
	for _, text := range []string{out.String(), said.String()} {
		if strings.ContainsAny(text, "\x1b\a\t\u009b") {
			t.Errorf("%q", text)
		}
	}
	if n := strings.Count(out.String(), "\n"); n != 16 {
		t.Errorf("%d lines: %q", n, out.String())
	}
}

func TestInDays(t *testing.T) {
	for want, d := range map[string]time.Duration{"152d13h": 3661*time.Hour + 57*time.Minute, "47h0m0s": 47 * time.Hour, "2d": 48 * time.Hour, "5m0s": 5 * time.Minute} {
		if got := inDays(d); got != want {
			t.Errorf("%s: %s, want %s", d, got, want)
		}
	}
	now := time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)
	if at, err := startTime("2d", now); err != nil || !at.Equal(now.Add(48*time.Hour)) {
		t.Errorf("--assume-start 2d: %v, %v", at, err)
	}
}

// The page on roles names every resource and verb that rules speak of.
func TestRulesInDocs(t *testing.T) {
	page, err := os.ReadFile("docs/roles.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(page), "`allow.rules` give access")
	said, _, _ := strings.Cut(rest, "A rule of the resource")
	words := strings.FieldsFunc(said, func(r rune) bool { return r != '_' && !unicode.IsLetter(r) })
	for _, name := range slices.Concat(policy.RuleResources(), policy.RuleVerbs()) {
		if !slices.Contains(words, name) {
			t.Errorf("%s is missing", name)
		}
	}
}
