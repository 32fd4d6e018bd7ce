package awsreq

import "strings"

// caseless tells how a type's names are told apart: whether AWS keeps them in lower
// case, however they are written, or may do so.
type caseless byte

const (
	keptLower  caseless = 'l' // "This parameter is stored as a lowercase string"
	maybeLower caseless = 'm' // not documented, or not for all operations
)

// kept gives the ARNs in the spelling that policies are held against: in lower case
// where AWS keeps names so, without versions and labels that select one of the same
// thing, and with the six characters that Secrets Manager adds to a name. given says
// that the request has the ARN itself, and not a name alone.
func (t *Table) kept(prefix, typ, arn string, given bool) []string {
	f := strings.SplitN(arn, ":", 6)
	if len(f) < 6 {
		return []string{arn}
	}
	head, id := strings.Join(f[:5], ":")+":", f[5]
	switch {
	case prefix == "secretsmanager" && typ == "Secret":
		// "… cause Secrets Manager to assume that you're specifying a complete ARN"
		// (https://docs.aws.amazon.com/secretsmanager/latest/userguide/troubleshoot.html).
		if !given || !suffixed(id) {
			id += "-??????"
		}
	case prefix == "ssm" && typ == "parameter":
		id, _, _ = strings.Cut(id, ":")
	case prefix == "logs" && typ == "log-group":
		id = strings.TrimSuffix(id, ":*") // as DescribeLogGroups gives it
	case prefix == "states" && typ == "statemachine":
		// stateMachine:NAME:VERSION, :ALIAS, and NAME/LABEL of a map state.
		if name, ok := strings.CutPrefix(id, "stateMachine:"); ok {
			if i := strings.IndexAny(name, ":/"); i >= 0 {
				id = "stateMachine:" + name[:i]
			}
		}
	}
	// The type in front of the name is as it is.
	i := strings.IndexAny(id, ":/") + 1
	low := id[:i] + strings.ToLower(id[i:])
	switch t.caseless[kind{prefix, typ}] {
	case keptLower:
		id = low
	case maybeLower:
		if low != id {
			return []string{head + id, head + low}
		}
	}
	return []string{head + id}
}

// suffixed tells whether a secret's ARN ends as complete ones do.
func suffixed(id string) bool {
	i := strings.LastIndexByte(id, '-')
	return i >= 0 && len(id)-i == 7 && strings.Trim(id[i+1:], nameLetters) == ""
}
