package embedded

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"embed"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"text/template"
)

//go:embed clickhouse/*.xml
var clickhouseFiles embed.FS

// systemDatabase seeds an on-disk system database: the engine's own is in
// memory, where the query log can't live. The UUID is any fixed one.
const (
	systemDatabase = "ATTACH DATABASE _ UUID '" + systemUUID + "' ENGINE = Atomic\n"
	systemUUID     = "5cc00000-0000-4000-8000-000000000001"
)

// dropEmpty removes definitions of the query log that have nothing in them, as a full disk
// leaves them: with one the engine never starts again, and without makes a log anew.
func (c *ClickHouse) dropEmpty() error {
	dir := filepath.Join(c.dataDir(), "store", systemUUID[:3], systemUUID)
	files, err := fs.Glob(os.DirFS(dir), "*.sql")
	for _, name := range files {
		if info, statErr := os.Stat(filepath.Join(dir, name)); statErr == nil && info.Size() == 0 {
			c.cfg.Log.Warn().Str("file", filepath.Join(dir, name)).Msg("the engine's own log has an empty definition, which is removed: the disk was full")
			err = errors.Join(err, os.Remove(filepath.Join(dir, name)))
		}
	}
	return err
}

// readerMemory is the most that one of the reader's queries may use, in bytes.
const readerMemory = 1 << 30

// openPasswords reads the users' passwords under dir, or makes them (0600); one
// that an earlier version did not make is added.
func openPasswords(dir string) (map[string]string, error) {
	path := filepath.Join(dir, "passwords.json")
	data, err := keepSecret(path, func() ([]byte, error) {
		return json.Marshal(map[string]string{Owner: rand.Text(), Reader: rand.Text(), Scoped: rand.Text()})
	})
	if err != nil {
		return nil, err
	}
	passwords := map[string]string{}
	if err := json.Unmarshal(data, &passwords); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	made := false
	for _, user := range []string{Owner, Reader, Scoped} {
		if passwords[user] == "" {
			passwords[user], made = rand.Text(), true
		}
	}
	if !made {
		return passwords, nil
	}
	if data, err = json.Marshal(passwords); err != nil {
		return nil, err
	}
	return passwords, writePrivate(path, data, os.Rename)
}

// keepCold remembers where the cold volume is: tables that use it can't be loaded
// without it, or with another one in its place.
func (c *ClickHouse) keepCold() error {
	type place struct{ Policy, Volume, Path, Endpoint string }
	var now, was place
	if cold := c.cfg.Cold; cold != nil {
		now = place{Policy: cold.Policy, Volume: cold.Volume, Path: cold.Path}
		if cold.S3 != nil {
			now.Endpoint = cold.S3.Endpoint
		}
	}
	// Without it the server would start all the same, and not show the rows that are there.
	if info, err := os.Stat(now.Path); now.Path != "" && (err != nil || !info.IsDir()) {
		return fmt.Errorf("the directory of volume %s, %s, is not there: mount its disk, or make it, owned by the user who runs this", now.Volume, now.Path)
	}
	path := filepath.Join(c.cfg.Dir, "cold.json")
	switch data, err := os.ReadFile(path); {
	case errors.Is(err, fs.ErrNotExist) && c.cfg.Cold == nil:
		return nil
	case errors.Is(err, fs.ErrNotExist):
		if data, err = json.Marshal(now); err != nil {
			return err
		}
		return writePrivate(path, data, os.Rename)
	case err != nil:
		return err
	default:
		if err := json.Unmarshal(data, &was); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	if now != was {
		return fmt.Errorf("tables have rows in volume %s of policy %s, at %s%s: configure it as it was (after moving it elsewhere, change %s, too)", was.Volume, was.Policy, was.Path, was.Endpoint, path)
	}
	return nil
}

func (c *ClickHouse) writeFiles() error {
	if err := c.keepCold(); err != nil {
		return err
	}
	for _, dir := range []string{c.dataDir(), filepath.Join(c.dataDir(), "metadata"), filepath.Join(c.cfg.Dir, "log")} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
	}
	values := map[string]any{
		"Dir":          c.cfg.Dir,
		"MaxMemory":    c.cfg.MaxMemory,
		"LazySync":     c.cfg.LazySync,
		"Passwords":    c.passwords,
		"ReaderMemory": readerMemory,
		"Database":     Database,
		"Scope":        c.cfg.Scope,
		"Cold":         c.cfg.Cold,
	}
	tmpl, err := template.New("").Funcs(template.FuncMap{
		"xml":    escapeXML,
		"sha256": func(s string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(s))) },
	}).ParseFS(clickhouseFiles, "clickhouse/*.xml")
	if err != nil {
		return err
	}
	for _, name := range []string{"server.xml", "users.xml"} {
		var out bytes.Buffer
		if err := tmpl.ExecuteTemplate(&out, name, values); err != nil {
			return err
		}
		if err := writePrivate(filepath.Join(c.cfg.Dir, name), out.Bytes(), os.Rename); err != nil {
			return err
		}
	}
	seed := filepath.Join(c.dataDir(), "metadata", "system.sql")
	if _, err := os.Stat(seed); err == nil {
		return nil
	}
	return writePrivate(seed, []byte(systemDatabase), os.Rename)
}

func (c *ClickHouse) dataDir() string { return filepath.Join(c.cfg.Dir, "data") }

func escapeXML(s string) (string, error) {
	var out bytes.Buffer
	err := xml.EscapeText(&out, []byte(s))
	return out.String(), err
}
