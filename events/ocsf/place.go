package ocsf

import (
	"encoding/hex"
	"encoding/json"
	"time"

	"github.com/posternhq/postern/events"
)

// leafAlgorithm names what raw_data_hash is: [events.Place.Hash], by which the stream's
// transparency log knows the event.
const leafAlgorithm = "postern log leaf, SHA-256"

// ConvertAt is Convert of an event that stands in a stream, and says where, in OCSF's own
// places: metadata.log_name is the stream, sequence the one there, log_source the NATS
// subject, logged_time_dt the time at which the stream took it, original_event_uid the
// id, and raw_data_hash the hash by which the stream's log knows it.
func ConvertAt(cloudEvent []byte, p events.Place) ([]byte, error) {
	e, err := convert(cloudEvent)
	if err != nil {
		return nil, err
	}
	hash := p.Hash(cloudEvent)
	m := &e.Metadata
	m.LogName, m.Sequence, m.LogSource, m.OriginalEventUID = p.Stream, p.Sequence, p.Subject, m.UID
	m.LoggedTime, m.LoggedTimeDT = millis(p.StoredAt), p.StoredAt.UTC().Format(time.RFC3339Nano)
	m.Profiles = append(m.Profiles, "datetime")
	e.RawDataHash = &fingerprint{other, leafAlgorithm, hex.EncodeToString(hash[:])}
	return json.Marshal(e)
}

// PlaceOf is where an event of ConvertAt stands, and its hash in hex. It is false
// for anything else.
func PlaceOf(event []byte) (p events.Place, hash string, ok bool) {
	var e struct {
		Metadata    metadata     `json:"metadata"`
		RawDataHash *fingerprint `json:"raw_data_hash"`
	}
	if json.Unmarshal(event, &e) != nil || e.RawDataHash == nil || e.RawDataHash.Algorithm != leafAlgorithm {
		return p, "", false
	}
	m := e.Metadata
	at, err := time.Parse(time.RFC3339Nano, m.LoggedTimeDT)
	return events.Place{Stream: m.LogName, Sequence: m.Sequence, Subject: m.LogSource, StoredAt: at}, e.RawDataHash.Value,
		err == nil && m.LogName != "" && m.Sequence != 0
}
