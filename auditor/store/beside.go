package store

import (
	"context"
	"crypto/rand"
	"regexp"
	"strings"
	"time"
)

// A database beside is where Rederive makes tables again. It says in its comment of
// which database it is and since when, so that one whose maker was killed is known
// later on.

// besideFor is how long one may be needed: a part of the tables takes minutes.
const besideFor = 24 * time.Hour

func (s *Store) besideComment(at time.Time) string {
	return "postern audit verify of " + s.Database() + " since " + at.UTC().Format(time.RFC3339)
}

func (s *Store) createBeside(ctx context.Context) (name string, err error) {
	s.dropForgotten(ctx)
	name = s.Database() + "_verify_" + strings.ToLower(rand.Text()[:12])
	err = s.conn.Exec(ctx, "CREATE DATABASE "+quote(name)+" COMMENT ?", s.besideComment(time.Now()))
	return name, err
}

func (s *Store) dropBeside(ctx context.Context, name string) {
	clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	if err := s.conn.Exec(clean, "DROP DATABASE IF EXISTS "+quote(name)+" SYNC"); err != nil {
		s.log.Warn().Err(err).Str("database", name).Msg("it is removed a day later")
	}
}

// dropForgotten removes databases beside that nobody uses any more. Neither a name
// nor a comment is enough for it: both must be what createBeside writes.
func (s *Store) dropForgotten(ctx context.Context) {
	rows, err := s.conn.Query(ctx, `SELECT name, comment FROM system.databases WHERE startsWith(name, ?)`, s.Database()+"_verify_")
	if err != nil {
		s.log.Warn().Err(err).Msg("what an earlier verification left is not looked for")
		return
	}
	defer rows.Close()
	ours := regexp.MustCompile("^" + regexp.QuoteMeta(s.Database()) + "_verify_[a-z2-7]{12}$")
	var forgotten []string
	for rows.Next() {
		var name, comment string
		if rows.Scan(&name, &comment) != nil {
			return
		}
		_, since, _ := strings.Cut(comment, " since ")
		at, err := time.Parse(time.RFC3339, since)
		if err == nil && ours.MatchString(name) && comment == s.besideComment(at) && time.Since(at) > besideFor {
			forgotten = append(forgotten, name)
		}
	}
	if rows.Err() != nil {
		return
	}
	for _, name := range forgotten {
		s.dropBeside(ctx, name)
	}
}
