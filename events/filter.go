package events

import (
	"fmt"
	"regexp"
	"strings"
)

// filterTokens is a NATS subject with wildcards that stand for whole tokens
// (https://docs.nats.io/nats-concepts/subjects).
var filterTokens = regexp.MustCompile(`^[^\s.*>]+(\.(\*|[^\s.*>]+))*(\.>)?$`)

// FilterStream returns the stream that a filter, a NATS subject with wildcards, is
// of. The error says what is no filter of exactly one of the streams.
func FilterStream(filter string) (string, error) {
	stream := StreamOf(filter)
	if stream == "" || !strings.Contains(filter, ".") || !filterTokens.MatchString(filter) {
		return "", fmt.Errorf("filter %q: want a NATS subject that begins with access., audit., cloudtrail. or findings., such as audit.denied.>", filter)
	}
	return stream, nil
}

// Matches tells whether a NATS subject is one of those that a filter means.
func Matches(filter, subject string) bool {
	f, s := strings.Split(filter, "."), strings.Split(subject, ".")
	for i, token := range f {
		switch {
		case token == ">":
			return len(s) > i
		case i >= len(s) || token != "*" && token != s[i]:
			return false
		}
	}
	return len(f) == len(s)
}
