package correlate

import (
	"time"

	"github.com/posternhq/postern/events"
)

// PassedOnAtMost is how long what STS gives works at most: GetFederationToken and
// GetSessionToken 36 hours, AssumeRole 12
// (https://docs.aws.amazon.com/IAM/latest/UserGuide/id_credentials_temp_compare-features.html).
const PassedOnAtMost = 36 * time.Hour

// AddPassedOn tells, at a time, of a record with a verdict whose call was given a key: what
// is called with a key that was got around postern is ours, too, and so on. Tell of them in
// the order of their times: a key belongs to whom that belongs which it was got with. It is
// held for as long from now as it works at most: records of old come when they come.
func (s *State) AddPassedOn(r Record, at time.Time) {
	c := Credential{
		AccessKeyID: r.IssuedAccessKeyID, HandedOut: r.Verdict == events.Exported, PassedOn: true,
		Account: r.IdentityAccount, RoleARN: r.RoleARN, SessionName: r.SessionName, IssuedAt: r.EventTime, ExpiresAt: r.EventTime.Add(PassedOnAtMost),
	}
	if c.AccessKeyID == "" || r.Verdict != events.Exported && r.Verdict != events.Bypass {
		return
	}
	if old, ok := s.scope.keys[c.AccessKeyID]; ok && (!old.PassedOn || old.HandedOut || !c.HandedOut) {
		return
	}
	c.User, _ = s.scope.userOf(&r)
	if by, ok := s.scope.keys[r.AccessKeyID]; ok && r.AccessKeyID != "" { // locks on these stop it, too
		c.SessionID, c.Account, c.RoleARN, c.SessionName = by.SessionID, by.Account, by.RoleARN, by.SessionName
	}
	if until := at.Add(PassedOnAtMost); c.ExpiresAt.Before(until) {
		c.ExpiresAt = until
	}
	s.scope.keys[c.AccessKeyID] = c
	s.passed = append(s.passed, c)
	s.behind = true
}

// passOn looks whether a record that was judged was given a key.
func (s *State) passOn(rec *record) {
	if rec.IssuedAccessKeyID != "" {
		r := rec.Record
		r.Verdict = rec.verdict
		s.AddPassedOn(r, s.now)
	}
}

// takeBack forgets the key of a record that turned out not to go around postern.
func (s *State) takeBack(rec *record) {
	if s.scope.keys[rec.IssuedAccessKeyID].PassedOn {
		delete(s.scope.keys, rec.IssuedAccessKeyID)
	}
}

// passedDue are the keys whose records the store is to be asked for: none while many
// records wait, as there may be any number of these.
func (s *State) passedDue() []Credential {
	if s.early > atOnce {
		return nil
	}
	if s.asking == 0 {
		return s.passed[:min(len(s.passed), atOnce)]
	}
	return s.passed[:s.asking] // there is more of them
}

// learnPassedOn takes a page of what a store has of calls with the first n keys that were
// passed on: their records may have come before it was known whose the keys are.
func (s *State) learnPassedOn(n int, f Found) {
	for _, r := range f.SameEvents {
		s.addRecord(r, s.now)
	}
	for _, r := range f.PassedOn {
		s.addRecord(r, s.now)
		rec := s.records[r.ID()]
		if rec != nil && rec.verdict == events.Bypass && rec.AccessKeyID != "" && s.scope.keys[rec.AccessKeyID].HandedOut {
			s.exported(rec)
		}
	}
	if len(f.PassedOn) >= atOnce {
		last := &f.PassedOn[len(f.PassedOn)-1]
		s.asking, s.passedAfter = n, Cursor{last.EventTime, last.ID()}
	} else {
		s.passed, s.asking, s.passedAfter = s.passed[n:], 0, Cursor{}
	}
	s.behind = s.behind || len(s.passedDue()) > 0
}

// exported judges a call with a key whose secret its user was given.
func (s *State) exported(rec *record) {
	c, what := s.scope.keys[rec.AccessKeyID], "credentials that "
	if c.PassedOn {
		what = "credentials got with those that "
	}
	was := rec.verdict
	s.judgeRecord(rec, events.Exported, "key_handed_out", what+c.User+" was given", nil)
	if was != events.Bypass || rec.SharedEventID == "" {
		return
	}
	for other := range s.byReq[rec.RequestID] { // it is one call
		if other.SharedEventID == rec.SharedEventID && other.verdict == events.Bypass {
			s.judgeRecord(other, events.Exported, ruleShared, sameEvent, nil)
			other.Rule = ruleShared
		}
	}
}
