package evidence

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/posternhq/postern/auditor/tlog"
	"github.com/posternhq/postern/events"
)

// Names of a bundle's files. Events are in events/STREAM/SEQUENCE.event, each
// beside its .tlog-proof.
const (
	manifestName = "MANIFEST"
	reportName   = "report.json"
	readmeName   = "README.txt"
	eventSuffix  = ".event"
	proofSuffix  = ".tlog-proof"
)

// bundleKey is what a manifest is signed under, below the log's name.
const bundleKey = "bundle"

const manifestHeader = "postern evidence bundle v1"

const readme = `This bundle was made by postern. Check it with nothing but the key of the logs,
which you should have from somewhere else:

    postern audit verify --offline BUNDLE --key KEY

Or by hand. An .event file is the subject of the message, a line feed, the time
at which the stream took it in nanoseconds since 1970, a line feed, and the
message itself. Its SHA-256 is the last word of the leaf that the transparency
log has of it:

    STREAM SEQUENCE SHA256

and the .tlog-proof file beside it (https://c2sp.org/tlog-proof) proves that leaf
number SEQUENCE-1 of the log of STREAM is this one. MANIFEST is a signed note
(https://c2sp.org/signed-note) over the SHA-256 of every other file.

cloudtrail/SHA256.json are CloudTrail's log files, uncompressed. The events of type
io.postern.cloudtrail.digest.checked.v1 hold AWS's digest files (content: base64 of
gzip), their signatures and AWS's public keys: compare these with what
"aws cloudtrail list-public-keys" says in the trail's region.
`

// Item is an event with the proof that the log has it.
type Item struct {
	Stream   string
	Seq      uint64
	Subject  string
	StoredAt time.Time
	Body     []byte
	Proof    tlog.Proof
}

// Leaf is what the log has of it.
func (i *Item) Leaf() tlog.Leaf {
	return tlog.Leaf{Stream: i.Stream, Seq: i.Seq, Hash: tlog.HashOf(i.Subject, i.StoredAt, i.Body)}
}

func (i *Item) name() string { return fmt.Sprintf("events/%s/%020d", i.Stream, i.Seq) }

// content are the bytes whose SHA-256 is the leaf's hash.
func (i *Item) content() []byte {
	return append([]byte(i.Subject+"\n"+strconv.FormatInt(i.StoredAt.UnixNano(), 10)+"\n"), i.Body...)
}

// Bundle is the evidence on one subject.
type Bundle struct {
	Subject Subject
	// Made is when, by the auditor's clock.
	Made  time.Time
	Items []Item
	// Logs are CloudTrail's log files that records are from, by the SHA-256 of their
	// content, in hex; see GatherLogs.
	Logs map[string][]byte
	// OtherReport is the version of the report in an opened bundle where that was not
	// written by the rules that Summary tells by, else 0. Nobody compared it with the events.
	OtherReport int
}

// Subject is what a bundle is about: a request of either kind, or a user since a
// time.
type Subject struct {
	Request string    `json:"request,omitempty"`
	User    string    `json:"user,omitempty"`
	Since   time.Time `json:"since,omitzero"`
}

// Pack writes a bundle as a zip file, signed. The same bundle is the same bytes.
func (b *Bundle) Pack(key *tlog.Key) ([]byte, error) {
	files := map[string][]byte{readmeName: []byte(readme)}
	for i := range b.Items {
		item := &b.Items[i]
		files[item.name()+eventSuffix] = item.content()
		files[item.name()+proofSuffix] = item.Proof.Text()
	}
	for sum, content := range b.Logs {
		files["cloudtrail/"+sum+".json"] = content
	}
	var err error
	if files[reportName], err = b.report(); err != nil {
		return nil, err
	}
	text, err := manifest(b, files)
	if err != nil {
		return nil, err
	}
	if files[manifestName], err = key.Sign(bundleKey, text); err != nil {
		return nil, err
	}
	return zipped(files)
}

func (b *Bundle) report() ([]byte, error) {
	r, err := b.Summary()
	if err != nil {
		return nil, err
	}
	out, err := json.MarshalIndent(r, "", "  ")
	return append(out, '\n'), err
}

// manifest names every file with its hash.
func manifest(b *Bundle, files map[string][]byte) (string, error) {
	subject, err := json.Marshal(b.Subject)
	if err != nil {
		return "", err
	}
	var text strings.Builder
	fmt.Fprintf(&text, "%s\nsubject %s\nmade %s\n", manifestHeader, subject, b.Made.UTC().Format(time.RFC3339Nano))
	for _, name := range slices.Sorted(maps.Keys(files)) {
		fmt.Fprintf(&text, "%x  %s\n", sha256.Sum256(files[name]), name)
	}
	return text.String(), nil
}

// zipped packs files without compression, in order, with nothing that could
// differ.
func zipped(files map[string][]byte) ([]byte, error) {
	var out bytes.Buffer
	z := zip.NewWriter(&out)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		b := files[name]
		w, err := z.CreateRaw(&zip.FileHeader{Name: name, Method: zip.Store, CRC32: crc32.ChecksumIEEE(b), CompressedSize64: uint64(len(b)), UncompressedSize64: uint64(len(b))})
		if err != nil {
			return nil, err
		}
		if _, err := w.Write(b); err != nil {
			return nil, err
		}
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// Open reads a bundle and verifies all of it: that it is byte for byte what was
// signed with the key, that each event is in its log at its place under a
// checkpoint of that key, and that the report is what the events say.
func Open(packed []byte, key tlog.PublicKey) (*Bundle, error) {
	files, err := unzipped(packed)
	if err != nil {
		return nil, err
	}
	text, err := key.Open(bundleKey, files[manifestName])
	if err != nil {
		return nil, fmt.Errorf("%s: %w", manifestName, err)
	}
	delete(files, manifestName)
	b, err := parseHead(text)
	if err != nil {
		return nil, err
	}
	if want, err := manifest(b, files); err != nil || want != text {
		return nil, fmt.Errorf("%s does not name these files: %w", manifestName, errors.Join(err, differing(text, want)))
	}
	report := files[reportName]
	delete(files, reportName)
	delete(files, readmeName)
	checkpoints := map[string]tlog.Checkpoint{}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		base, ok := strings.CutSuffix(name, eventSuffix)
		if !ok {
			continue
		}
		item, err := readItem(base, files[name], files[base+proofSuffix])
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		delete(files, name)
		delete(files, base+proofSuffix)
		note := string(item.Proof.Note)
		c, known := checkpoints[note]
		if !known {
			if c, err = key.OpenCheckpoint(item.Stream, item.Proof.Note); err != nil {
				return nil, fmt.Errorf("%s: %w", base+proofSuffix, err)
			}
			checkpoints[note] = c
		}
		if err := c.Included(item.Leaf(), item.Proof.Path); err != nil {
			return nil, fmt.Errorf("%s is not in the log: %w", name, err)
		}
		b.Items = append(b.Items, *item)
	}
	if err := b.takeLogs(files); err != nil {
		return nil, err
	}
	for name := range files {
		return nil, fmt.Errorf("%s belongs to nothing in this bundle", name)
	}
	want, err := b.report()
	if err == nil && bytes.Equal(want, report) {
		return b, nil
	}
	var by struct{ Version int }
	if err == nil && json.Unmarshal(report, &by) == nil && by.Version > 0 && by.Version != summaryVersion {
		b.OtherReport = by.Version
		return b, nil
	}
	return nil, fmt.Errorf("%s is not what the events say%s", reportName, suffix(err))
}

// takeLogs takes the log files that the bundle's events tell of.
func (b *Bundle) takeLogs(files map[string][]byte) error {
	told := map[string]bool{}
	for i := range b.Items {
		if e, err := events.Decode(b.Items[i].Body); err == nil {
			if f, ok := e.Data.(*events.CloudTrailFileReceived); ok {
				told[f.SHA256] = true
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		m := logName.FindStringSubmatch(name)
		if m == nil || !told[m[1]] {
			continue
		}
		if sum := sha256.Sum256(files[name]); hex.EncodeToString(sum[:]) != m[1] {
			return fmt.Errorf("%s is another file", name)
		}
		if b.Logs == nil {
			b.Logs = map[string][]byte{}
		}
		b.Logs[m[1]] = files[name]
		delete(files, name)
	}
	return nil
}

func suffix(err error) string {
	if err == nil {
		return ""
	}
	return ": " + err.Error()
}

// differing names the first line of a manifest that should read otherwise.
func differing(have, want string) error {
	h, w := strings.Split(have, "\n"), strings.Split(want, "\n")
	for i := range h {
		if i >= len(w) || h[i] != w[i] {
			return fmt.Errorf("line %d, %q", i+1, h[i])
		}
	}
	return errors.New("there are files besides")
}

const maxBundle = 1 << 30 // bytes

func unzipped(packed []byte) (map[string][]byte, error) {
	if len(packed) > maxBundle {
		return nil, fmt.Errorf("a bundle of %d bytes is too large", len(packed))
	}
	z, err := zip.NewReader(bytes.NewReader(packed), int64(len(packed)))
	if err != nil {
		return nil, fmt.Errorf("not a bundle: %w", err)
	}
	files, left := map[string][]byte{}, uint64(len(packed))
	for _, f := range z.File {
		if f.Method != zip.Store || f.CompressedSize64 != f.UncompressedSize64 {
			return nil, fmt.Errorf("not a bundle: %s is compressed", f.Name)
		}
		if f.UncompressedSize64 > left { // the same bytes can be said to be of many files
			return nil, fmt.Errorf("not a bundle: up to %s its files are larger than it is", f.Name)
		}
		left -= f.UncompressedSize64
		r, err := f.Open()
		if err != nil {
			return nil, fmt.Errorf("not a bundle: %s: %w", f.Name, err)
		}
		if files[f.Name], err = io.ReadAll(io.LimitReader(r, int64(len(packed)))); err != nil {
			return nil, fmt.Errorf("not a bundle: %s: %w", f.Name, err)
		}
	}
	again, err := zipped(files)
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(again, packed) {
		return nil, errors.New("not a bundle as postern packs it: its bytes were changed")
	}
	return files, nil
}

func parseHead(text string) (*Bundle, error) {
	fail := fmt.Errorf("%s is not that of an evidence bundle of this version", manifestName)
	lines := strings.SplitN(text, "\n", 4)
	if len(lines) < 4 || lines[0] != manifestHeader {
		return nil, fail
	}
	subject, ok1 := strings.CutPrefix(lines[1], "subject ")
	made, ok2 := strings.CutPrefix(lines[2], "made ")
	b := &Bundle{}
	var err error
	if b.Made, err = time.Parse(time.RFC3339Nano, made); err != nil || !ok1 || !ok2 || json.Unmarshal([]byte(subject), &b.Subject) != nil {
		return nil, fail
	}
	return b, nil
}

func readItem(base string, content, proof []byte) (*Item, error) {
	part := strings.Split(base, "/")
	if len(part) != 3 || part[0] != "events" || !slices.Contains(events.Streams(), part[1]) {
		return nil, errors.New("is not where an event belongs")
	}
	i := &Item{Stream: part[1]}
	var err error
	if i.Seq, err = strconv.ParseUint(part[2], 10, 64); err != nil || i.name() != path.Clean(base) {
		return nil, errors.New("is not where an event belongs")
	}
	subject, rest, ok1 := bytes.Cut(content, []byte("\n"))
	at, body, ok2 := bytes.Cut(rest, []byte("\n"))
	nanos, err := strconv.ParseInt(string(at), 10, 64)
	if !ok1 || !ok2 || err != nil {
		return nil, errors.New("is no event with its subject and time")
	}
	i.Subject, i.StoredAt, i.Body = string(subject), time.Unix(0, nanos).UTC(), body
	if i.Proof, err = tlog.ParseProof(proof); err != nil {
		return nil, fmt.Errorf("its proof: %w", err)
	}
	if i.Proof.Seq != i.Seq || !bytes.Equal(i.content(), content) {
		return nil, errors.New("is not the event that its proof is of")
	}
	return i, nil
}

// Checkpoints are those that the proofs lead to, one a stream.
func (b *Bundle) Checkpoints(key tlog.PublicKey) ([]tlog.Checkpoint, error) {
	seen := map[string]bool{}
	var out []tlog.Checkpoint
	for _, i := range b.Items {
		if seen[string(i.Proof.Note)] {
			continue
		}
		seen[string(i.Proof.Note)] = true
		c, err := key.OpenCheckpoint(i.Stream, i.Proof.Note)
		if err != nil {
			return nil, err
		}
		out = append(out, c)
	}
	return out, nil
}
