package query

import (
	"context"
	"regexp"
	"strings"
)

// outside refuses a statement that could read files of the server's machine. No grant
// covers the function file: a server keeps it to one directory
// (https://clickhouse.com/docs/sql-reference/functions/files), an embedded one doesn't.
// Nor does one keep the function sqlite from making the file that it names, before anybody asks
// for its grant.
// It also refuses one that says how or where to its answer is written, which ClickHouse
// leaves to its own client.
//
// The server's own parser says what the statement names, comments, quotes and escapes
// gone. Where it stands alone the name may be a function to come, as in
// arrayMap(file, …) and APPLY file, so columns of that name are asked for as TABLE.file.
func (s *SQL) outside(ctx context.Context, statement string) error {
	var said string
	if err := s.conn.QueryRow(ctx, `SELECT formatQuerySingleLine(?)`, statement).Scan(&said); err != nil {
		err = sqlError(err)
		if e, ok := err.(*SQLError); ok { // what follows speaks of our own statement
			e.Message, _, _ = strings.Cut(e.Message, ": In scope SELECT formatQuerySingleLine(")
		}
		return err
	}
	if namesFile(said) {
		return &BadInput{"query", "file is a function that reads files of the server, which is refused; if you mean a column, write TABLE.file"}
	}
	if sqlite.MatchString(quoted.ReplaceAllString(said, "''")) {
		return &BadInput{"query", "sqlite is a function that makes files of the server, which is refused"}
	}
	w := strings.Fields(output.FindString(quoted.ReplaceAllString(said, "''")))
	// ORDER BY FORMAT DESC is of a column, and what an INSERT reads is refused by the server.
	if len(w) > 1 && w[1] != "ASC" && w[1] != "DESC" && !strings.HasPrefix(said, "INSERT") {
		return &BadInput{"query", w[0] + " " + w[1] + " has no effect here: choose how the answer is written by --format (over HTTP, the parameter format), and where to by > FILE"}
	}
	return nil
}

// sqlite is a call of that function, which ClickHouse takes in any case.
var sqlite = regexp.MustCompile(`(?i)\bsqlite ?\(`)

// quoted is text and names, as ClickHouse writes them, in which words mean nothing.
var quoted = regexp.MustCompile("(?s)'(?:[^'\\\\]|\\\\.)*'|`(?:[^`\\\\]|\\\\.)*`|\"(?:[^\"\\\\]|\\\\.)*\"")

// output is how and where to an answer is written, as ClickHouse says it last.
var output = regexp.MustCompile(`\s(?:INTO OUTFILE ''|FORMAT \w+(?: SETTINGS .*)?$)`)

// namesFile says whether a statement, as ClickHouse formats it, has the name file
// otherwise than after a dot.
func namesFile(statement string) bool {
	const name = "file"
	inName := func(i int) bool {
		if i < 0 || i >= len(statement) {
			return false
		}
		c := statement[i]
		return c == '_' || c == '$' || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || c >= 0x80
	}
	for i := 0; i < len(statement); i++ {
		switch c := statement[i]; {
		case c == '\'' || c == '`' || c == '"': // quoted is what can't stand alone, so not this name
			for i++; i < len(statement) && statement[i] != c; i++ {
				if statement[i] == '\\' {
					i++
				}
			}
		case strings.HasPrefix(statement[i:], ":Identifier}"): // a parameter, which may be any name
			return true
		case strings.HasPrefix(statement[i:], name) && !inName(i-1) && !inName(i+len(name)):
			if i == 0 || statement[i-1] != '.' || strings.HasPrefix(statement[i+len(name):], "(") {
				return true
			}
		}
	}
	return false
}
