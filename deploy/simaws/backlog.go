package simaws

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"time"
)

// backlog is a file with the records that a trail has taken and not delivered, a
// line each, so that a kill loses none. One that is killed while it delivers does so
// twice, as CloudTrail does now and then.
type backlog struct {
	file string
	open *os.File
}

// owed is a line of it.
type owed struct {
	Due  time.Time
	Copy int      `json:",omitempty"`
	Dir  bool     `json:",omitempty"`
	To   []string `json:",omitempty"` // ARNs of trails
	Rec  trailRecord
}

// keep takes up what an earlier process has left in file, and keeps what is pending
// there from now on. It is called before anything else.
func (t *trail) keep(file string) error {
	raw, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for line := range bytes.Lines(raw) {
		var o owed
		if json.Unmarshal(line, &o) != nil {
			continue // cut short by a kill
		}
		p := pendingRecord{due: o.Due, copy: o.Copy, dir: o.Dir, rec: o.Rec}
		for _, arn := range o.To {
			for _, tr := range t.state.Trails {
				if tr.ARN() == arn {
					p.to = append(p.to, tr)
				}
			}
		}
		t.add(p)
	}
	t.backlog = &backlog{file: file}
	for i := range t.pending {
		t.pending[i].line = t.pending[i].owed()
	}
	return t.backlog.rewrite(t.pending)
}

// rewrite leaves pending alone in the file.
func (b *backlog) rewrite(pending []pendingRecord) error {
	var all bytes.Buffer
	for i := range pending {
		all.Write(pending[i].line)
	}
	if err := writeFile(b.file, all.Bytes(), 0o600); err != nil {
		return err
	}
	f, err := os.OpenFile(b.file, os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	if b.open != nil {
		_ = b.open.Close() // of the file that was replaced
	}
	b.open = f
	return nil
}

// owed is p as a line, empty where it can't be one.
func (p *pendingRecord) owed() []byte {
	o := owed{Due: p.due, Copy: p.copy, Dir: p.dir, Rec: p.rec}
	for _, tr := range p.to {
		o.To = append(o.To, tr.ARN())
	}
	line, err := json.Marshal(&o)
	if err != nil {
		return nil
	}
	return append(line, '\n')
}
