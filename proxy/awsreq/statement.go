package awsreq

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strings"
)

// tells reads from a JSON body which of its operation's actions a request takes; nil
// where it does not tell.
type tells func(body []byte) []string

// tellsBy is how requests of an operation tell that, nil if they do not.
func tellsBy(service, operation string) tells {
	switch service {
	case "dynamodb":
		switch operation {
		case "ExecuteStatement":
			return func(body []byte) []string { return statements(body, "Statement", partiQL) }
		case "BatchExecuteStatement":
			return func(body []byte) []string { return elements(body, "Statements", partiQLIn) }
		case "ExecuteTransaction":
			return func(body []byte) []string { return elements(body, "TransactStatements", partiQLIn) }
		case "TransactWriteItems":
			return func(body []byte) []string { return elements(body, "TransactItems", transactItem) }
		}
	case "timestream-query":
		if operation == "Query" {
			return func(body []byte) []string { return statements(body, "QueryString", timestreamSQL) }
		}
	}
	return nil
}

// narrow leaves a request the actions that it takes, where its operation may take
// several and it tells which. All that is not plain leaves it all of them.
func narrow(in *Input, r *Request) {
	tell := tellsBy(r.Service, r.Operation)
	if tell == nil || !in.BodyComplete || isCBOR(in) {
		return
	}
	said := tell(in.Body)
	if len(said) == 0 {
		return
	}
	var taken []Action
	for _, a := range append([]Action{{r.Action, r.AccessLevel}}, r.Also...) {
		if slices.Contains(said, a.Name) {
			taken = append(taken, a)
		}
	}
	if len(taken) > 0 {
		r.Action, r.AccessLevel, r.Also = taken[0].Name, taken[0].Level, taken[1:]
	}
}

// statements reads the statement that a member of an object has.
func statements(object []byte, member string, verb func(string) []string) (out []string) {
	plain := members(object, []string{member}, func(_ string, raw json.RawMessage) bool {
		var text string
		if json.Unmarshal(raw, &text) != nil {
			return false
		}
		said := verb(text)
		out = append(out, said...)
		return len(said) > 0
	})
	if !plain {
		return nil
	}
	return out
}

// elements reads the objects of a list that a member of an object has.
func elements(object []byte, member string, each func([]byte) []string) (out []string) {
	plain := members(object, []string{member}, func(_ string, raw json.RawMessage) bool {
		var list []json.RawMessage
		if json.Unmarshal(raw, &list) != nil {
			return false
		}
		for _, one := range list {
			said := each(one)
			if len(said) == 0 {
				return false
			}
			out = append(out, said...)
		}
		return true
	})
	if !plain {
		return nil
	}
	return out
}

func partiQLIn(object []byte) []string { return statements(object, "Statement", partiQL) }

// partiQL: https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/ql-iam.html
func partiQL(statement string) []string {
	switch verb(statement) {
	case "SELECT":
		return []string{"dynamodb:PartiQLSelect"}
	case "INSERT":
		return []string{"dynamodb:PartiQLInsert"}
	case "UPDATE":
		return []string{"dynamodb:PartiQLUpdate"}
	case "DELETE":
		return []string{"dynamodb:PartiQLDelete"}
	}
	return nil // EXISTS, too
}

// timestreamSQL: https://docs.aws.amazon.com/timestream/latest/developerguide/supported-sql-constructs.html
func timestreamSQL(query string) []string {
	switch verb(query) {
	case "SELECT", "WITH", "SHOW", "DESCRIBE", "DESC":
		return []string{"timestream:Select"}
	}
	return nil
}

// transactItem: what one of TransactWriteItems does
// (https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/transaction-apis-iam.html).
func transactItem(object []byte) (out []string) {
	kinds := []string{"Put", "Update", "Delete", "ConditionCheck"}
	if !members(object, kinds, func(name string, _ json.RawMessage) bool {
		out = append(out, "dynamodb:"+name+"Item")
		return true
	}) {
		return nil
	}
	return out
}

// members calls each for the members of an object that are among names, however often
// one is there. False is for what is no such object and nothing else, for each's
// false, and for a name in another case: whoever reads it may take it for one of these.
func members(object []byte, names []string, each func(name string, raw json.RawMessage) bool) bool {
	d := json.NewDecoder(bytes.NewReader(object))
	if tok, err := d.Token(); err != nil || tok != json.Delim('{') {
		return false
	}
	for d.More() {
		tok, err := d.Token()
		if err != nil {
			return false
		}
		name, _ := tok.(string)
		var raw json.RawMessage
		if err := d.Decode(&raw); err != nil {
			return false
		}
		switch i := slices.IndexFunc(names, func(n string) bool { return strings.EqualFold(n, name) }); {
		case i < 0:
		case names[i] != name || !each(name, raw):
			return false
		}
	}
	if _, err := d.Token(); err != nil {
		return false
	}
	_, err := d.Token()
	return errors.Is(err, io.EOF)
}

// verb is the first word of a single statement, in upper case; "" for what begins
// otherwise, with a comment say, or may be several statements.
func verb(statement string) string {
	const space = " \t\r\n"
	statement = strings.TrimRight(strings.Trim(statement, space), ";"+space)
	end := strings.IndexAny(statement, space)
	if end < 0 || strings.Contains(statement, ";") {
		return ""
	}
	return strings.ToUpper(statement[:end])
}
