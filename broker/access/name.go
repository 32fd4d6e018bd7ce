package access

import (
	"crypto/sha256"
	"encoding/hex"
	"regexp"
	"strings"
)

var (
	// https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html,
	// RoleSessionName and SourceIdentity.
	sessionNameForm = regexp.MustCompile(`^[A-Za-z0-9_+=,.@-]{2,64}$`)
	// Values of session tags, the same page, without the letters beyond ASCII.
	tagValueForm = regexp.MustCompile(`^[A-Za-z0-9 _.:/=+@-]{1,256}$`)
	// What made names end in: a name that came like this is made too, so that
	// nobody can be called what somebody else was made into.
	madeForm = regexp.MustCompile(`-[0-9a-f]{20}$`)
)

// RoleSessionName returns a user's name as STS takes it. A name that fits stays
// as it is; any other keeps what fits of it and gets "-" and 80 bits of its
// SHA-256, in hex. No two users have the same one.
func RoleSessionName(user string) string { return fit(user, sessionNameForm, "_+=,.@-", 64) }

// tagValue does the same for the value of a session tag.
func tagValue(s string) string { return fit(s, tagValueForm, " _.:/=+@-", 256) }

func fit(s string, form *regexp.Regexp, marks string, maxLen int) string {
	if form.MatchString(s) && !madeForm.MatchString(s) {
		return s
	}
	sum := sha256.Sum256([]byte(s))
	tail := "-" + hex.EncodeToString(sum[:10])
	kept := strings.Map(func(r rune) rune {
		switch {
		case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9', strings.ContainsRune(marks, r):
			return r
		}
		return '-'
	}, s)
	return kept[:min(len(kept), maxLen-len(tail))] + tail
}
