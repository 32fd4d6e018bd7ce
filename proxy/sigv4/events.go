package sigv4

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"hash/crc32"
	"time"
)

// frame reads one message of an event stream into buf:
//
//	total length (4), headers length (4), CRC of these (4),
//	headers, payload, CRC of all before (4)
//
// A signed message has the headers :date and :chunk-signature and carries the
// actual message as payload; one with an empty payload ends the stream (Amazon
// Transcribe Developer Guide, "Event stream encoding").
func (s *StreamReader) frame() error {
	const prelude, overhead = 12, 16
	if err := s.read(prelude); err != nil {
		return err
	}
	total := int(binary.BigEndian.Uint32(s.buf))
	headers := int(binary.BigEndian.Uint32(s.buf[4:]))
	if crc32.ChecksumIEEE(s.buf[:8]) != binary.BigEndian.Uint32(s.buf[8:]) {
		return s.bad("event: checksum of the prelude is wrong")
	}
	if total > s.max || headers > total-overhead || total < overhead {
		return s.bad("event of %d bytes with headers of %d; at most %d are taken", total, headers, s.max)
	}
	if err := s.read(total - prelude); err != nil {
		return err
	}
	body := s.buf[:total-4]
	if crc32.ChecksumIEEE(body) != binary.BigEndian.Uint32(s.buf[total-4:]) {
		return s.bad("event: checksum of the message is wrong")
	}
	h, payload := body[prelude:prelude+headers], body[prelude+headers:]
	date, sig, from, to, ok := signedHeaders(h)
	if !ok {
		return s.bad("event has no well-formed :date and :chunk-signature")
	}
	sum := sha256.New()
	sum.Write(h[:from])
	sum.Write(h[to:])
	var headerSum [32]byte
	sum.Sum(headerSum[:0])
	payloadSum := sha256.Sum256(payload)
	if c := s.verify; c != nil {
		c.at(date)
		var got [2 * 32]byte
		hex.Encode(got[:], sig)
		if c.ecdsa != nil || !c.check(c.message("PAYLOAD", date, &headerSum, &payloadSum), got[:]) {
			return &Error{Kind: ErrMismatch, Service: s.service(), Detail: "signature of an event"}
		}
	}
	if c := s.sign; c != nil {
		c.at(date)
		made, err := c.make(c.message("PAYLOAD", date, &headerSum, &payloadSum))
		if err != nil {
			return err
		}
		if _, err := hex.Decode(sig, made); err != nil {
			return s.bad("event: SigV4A is not made for events")
		}
		binary.BigEndian.PutUint32(s.buf[total-4:], crc32.ChecksumIEEE(body))
	}
	s.last = len(payload) == 0
	return nil
}

// signedHeaders finds an event's time and signature. from and to enclose the
// signature's header. Other headers are covered as they stand.
func signedHeaders(h []byte) (date time.Time, sig []byte, from, to int, ok bool) {
	for i := 0; i < len(h); {
		at := i
		n := int(h[i])
		i++
		if i+n+1 > len(h) {
			return date, nil, 0, 0, false
		}
		name, typ := string(h[i:i+n]), h[i+n]
		i += n + 1
		size := 0
		switch typ {
		case 0, 1: // true, false
		case 2:
			size = 1
		case 3:
			size = 2
		case 4:
			size = 4
		case 5, 8: // long, timestamp
			size = 8
		case 6, 7: // bytes, string
			if i+2 > len(h) {
				return date, nil, 0, 0, false
			}
			size = int(binary.BigEndian.Uint16(h[i:]))
			i += 2
		case 9:
			size = 16
		default:
			return date, nil, 0, 0, false
		}
		if i+size > len(h) {
			return date, nil, 0, 0, false
		}
		switch {
		case name == ":date" && typ == 8 && date.IsZero():
			date = time.UnixMilli(int64(binary.BigEndian.Uint64(h[i:]))).UTC()
		case name == ":chunk-signature" && typ == 6 && size == 32 && sig == nil:
			sig, from, to = h[i:i+32], at, i+32
		case name == ":date" || name == ":chunk-signature":
			return date, nil, 0, 0, false
		}
		i += size
	}
	return date, sig, from, to, sig != nil && !date.IsZero()
}
