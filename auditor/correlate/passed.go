package correlate

import (
	"time"

	"github.com/posternhq/postern/events"
)

// passedOnAtMost is how long what STS gives works at most: GetFederationToken and
// GetSessionToken 36 hours, AssumeRole 12
// (https://docs.aws.amazon.com/IAM/latest/UserGuide/id_credentials_temp_compare-features.html).
const passedOnAtMost = 36 * time.Hour

// AddPassedOn tells of a record with a verdict whose call was given a key: what is called
// with a key that was got around postern is ours, too, and so on. Tell of them in the
// order of their times: a key belongs to whom that belongs which it was got with.
func (s *State) AddPassedOn(r Record) {
	c := Credential{
		AccessKeyID: r.IssuedAccessKeyID, HandedOut: r.Verdict == events.Exported, PassedOn: true,
		Account: r.IdentityAccount, RoleARN: r.RoleARN, SessionName: r.SessionName, IssuedAt: r.EventTime, ExpiresAt: r.EventTime.Add(passedOnAtMost),
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
	if soon := s.now.Add(time.Hour); c.ExpiresAt.Before(soon) { // records of old come together
		c.ExpiresAt = soon
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
		s.AddPassedOn(r)
	}
}

// takeBack forgets the key of a record that turned out not to go around postern.
func (s *State) takeBack(rec *record) {
	if s.scope.keys[rec.IssuedAccessKeyID].PassedOn {
		delete(s.scope.keys, rec.IssuedAccessKeyID)
	}
}

// learnPassedOn takes what a store has of calls with keys that were passed on: their
// records may have come before it was known whose the keys are.
func (s *State) learnPassedOn(found []Record) {
	for _, r := range found {
		s.addRecord(r, s.now)
		rec := s.records[r.ID()]
		if rec != nil && rec.verdict == events.Bypass && rec.Rule != ruleShared && s.scope.keys[rec.AccessKeyID].HandedOut {
			s.exported(rec)
		}
	}
}

// exported judges a call with a key whose secret its user was given.
func (s *State) exported(rec *record) {
	c, what := s.scope.keys[rec.AccessKeyID], "credentials that "
	if c.PassedOn {
		what = "credentials got with those that "
	}
	s.judgeRecord(rec, events.Exported, "key_handed_out", what+c.User+" was given", nil)
}
