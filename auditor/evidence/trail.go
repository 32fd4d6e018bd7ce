package evidence

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/posternhq/postern/auditor/cloudtrail"
	"github.com/posternhq/postern/events"
)

// CloudTrail's log files are in cloudtrail/SHA256.json, without their compression:
// that is what AWS's digest files have the hash of.
var logName = regexp.MustCompile(`^cloudtrail/([0-9a-f]{64})\.json$`)

// MaxLogs bounds the log files of one bundle, in bytes.
const MaxLogs = 256 << 20

// GatherLogs puts CloudTrail's log files that records of the bundle are from
// together again out of the ledger's records, so that AWS's digest files vouch
// for the records. Where some of its records came by another file first, or a file
// is written otherwise than CloudTrail writes, it is fetched anew, if fetch is not
// nil. What can't be had, and what is beyond MaxLogs, is left out.
func GatherLogs(ctx context.Context, conn driver.Conn, items []Item, fetch func(ctx context.Context, name string, most int64) ([]byte, error)) (map[string][]byte, error) {
	logs, room := map[string][]byte{}, MaxLogs
	for i := range items {
		e, err := events.Decode(items[i].Body)
		if err != nil {
			continue
		}
		f, ok := e.Data.(*events.CloudTrailFileReceived)
		if !ok || logs[f.SHA256] != nil {
			continue
		}
		content, err := logFile(ctx, conn, f, items[i].Seq)
		if err != nil {
			return nil, err
		}
		if content == nil && fetch != nil {
			content, err = fetch(ctx, f.File, int64(room))
			if err != nil {
				return nil, err
			}
			if sum := sha256.Sum256(content); hex.EncodeToString(sum[:]) != f.SHA256 {
				content = nil
			}
		}
		if content != nil && len(content) <= room {
			logs[f.SHA256] = content
			room -= len(content)
		}
	}
	return logs, nil
}

// logSpan is how far before the receipt of a file its records are looked for:
// other files are taken in side by side.
const logSpan = 500_000

// logFile is nil where the file can't be put together.
func logFile(ctx context.Context, conn driver.Conn, f *events.CloudTrailFileReceived, received uint64) ([]byte, error) {
	rows, err := conn.Query(ctx, `SELECT raw FROM events WHERE stream = 'CLOUDTRAIL' AND type LIKE 'io.postern.cloudtrail.record.received.%'
		AND seq BETWEEN ? AND ? AND (JSONExtractString(raw, 'data', 'file') = ? OR NOT isValidJSON(raw)) ORDER BY seq`, received-min(received, logSpan), received, f.File)
	if err != nil {
		return nil, fmt.Errorf("gather log file %s: %w", f.File, err)
	}
	defer rows.Close()
	records := make([][]byte, f.Records)
	for rows.Next() {
		var raw string
		if err := rows.Scan(&raw); err != nil {
			return nil, fmt.Errorf("gather log file %s: %w", f.File, err)
		}
		e, err := events.Decode([]byte(raw))
		if err != nil {
			continue
		}
		if d, ok := e.Data.(*events.CloudTrailRecordReceived); ok && d.File == f.File && d.Position >= 0 && d.Position < len(records) {
			records[d.Position] = wholeRecord(d)
		}
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("gather log file %s: %w", f.File, err)
	}
	content, _ := cloudtrail.FileOf(records, f.SHA256)
	return content, nil
}

// wholeRecord is the record byte for byte as its file has it.
func wholeRecord(d *events.CloudTrailRecordReceived) []byte {
	if d.Raw != "" {
		return []byte(d.Raw)
	}
	return d.Record
}

// vouching finds out what AWS's own signatures say of a bundle's records.
type vouching struct {
	logs    map[string][]byte // by SHA-256
	vouched map[string]string // SHA-256 by s3:// address, as digest files say
	by      map[string]*Digest
	records []*events.CloudTrailRecordReceived
}

// digest verifies a digest file that an event keeps.
func (v *vouching) digest(d *events.CloudTrailDigestChecked, about *Digest) error {
	if d.Verdict != events.DigestValid {
		return nil
	}
	said, err := cloudtrail.Vouch(d)
	if errors.Is(err, cloudtrail.ErrNotKept) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("digest file s3://%s/%s, which the auditor called valid: %w", d.Bucket, d.Key, err)
	}
	about.SignedBy = said.Fingerprint
	for name, sum := range said.Logs {
		v.vouched[name], v.by[name] = sum, about
	}
	return nil
}

// version is a log file by what its object had in it: that may be written again, and be
// taken in once more.
type version struct{ name, sum string }

// conclude says of each file and record whether AWS's signature leads to it: of a file that
// was taken in with several contents, to the one that has the record. That a record is in
// none of them, and the bundle has all, is an error.
func (v *vouching) conclude(s *Summary) error {
	signed := map[version]bool{}
	content := map[version][]json.RawMessage{}
	versions := map[string][]version{}
	for i := range s.Files {
		f := &s.Files[i]
		this := version{f.File, f.SHA256}
		versions[f.File] = append(versions[f.File], this)
		log := v.logs[f.SHA256]
		f.Included = log != nil
		if by := v.by[f.File]; by != nil && v.vouched[f.File] == f.SHA256 {
			f.Digest = by.Key
			signed[this] = true
		}
		if log == nil {
			continue
		}
		records, err := cloudtrail.RecordsIn(log)
		if err != nil {
			return err
		}
		content[this] = records
	}
	for _, d := range v.records {
		has, all, sure := false, len(versions[d.File]) > 0, false
		for _, of := range versions[d.File] {
			in, ok := content[of]
			if !ok {
				all = false // it may be in this one
			} else if d.Position >= 0 && d.Position < len(in) && bytes.Equal(in[d.Position], wholeRecord(d)) {
				has, sure = true, sure || signed[of]
			}
		}
		if all && !has {
			return fmt.Errorf("record %s is not what the log file %s has at place %d", d.EventID, d.File, d.Position)
		}
		for i := range s.Records {
			if r := &s.Records[i]; has && r.EventID == d.EventID && r.RecipientAccountID == d.RecipientAccountID {
				r.SignedByAWS = sure
			}
		}
	}
	return nil
}
