package events

import (
	"strings"
)

// The four streams and the subjects that each of them captures.
const (
	Access     = "ACCESS"
	Audit      = "AUDIT"
	CloudTrail = "CLOUDTRAIL"
	Findings   = "FINDINGS"
)

// Streams lists the streams in the order in which data flows through them.
func Streams() []string { return []string{Access, Audit, CloudTrail, Findings} }

// StreamSubjects returns the wildcard subject that a stream captures:
// "access.>" for ACCESS.
func StreamSubjects(stream string) string { return strings.ToLower(stream) + ".>" }

// StreamOf returns the stream that captures a subject, or "".
func StreamOf(subject string) string {
	first, _, _ := strings.Cut(subject, ".")
	switch first {
	case "access":
		return Access
	case "audit":
		return Audit
	case "cloudtrail":
		return CloudTrail
	case "findings":
		return Findings
	}
	return ""
}

// Token makes any text one token of a NATS subject, reversibly: every byte
// that is not a letter, a digit or one of "-_@=+:" becomes %XX; empty text
// becomes "%". NATS gives '.', '*', '>' and white space a meaning of their own
// (https://docs.nats.io/nats-concepts/subjects).
func Token(s string) string {
	if s == "" {
		return "%"
	}
	plain := true
	for i := 0; i < len(s) && plain; i++ {
		plain = tokenByte(s[i])
	}
	if plain {
		return s
	}
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if c := s[i]; tokenByte(c) {
			b.WriteByte(c)
		} else {
			b.Write([]byte{'%', hex[c>>4], hex[c&15]})
		}
	}
	return b.String()
}

func tokenByte(c byte) bool {
	switch {
	case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		return true
	}
	return strings.IndexByte("-_@=+:", c) >= 0
}

func channel(tokens ...string) string {
	for i, t := range tokens {
		tokens[i] = Token(t)
	}
	return strings.Join(tokens, ".")
}
