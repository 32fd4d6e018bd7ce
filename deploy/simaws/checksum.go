package simaws

import (
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"hash"
	"hash/crc32"
	"hash/crc64"
	"strings"
)

// S3's additional checksums:
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity.html

// nvmePoly is CRC-64/NVME, reflected.
const nvmePoly = 0x9a6c9329ac4bc9b5

var nvmeTable = crc64.MakeTable(nvmePoly)

// newChecksum makes the hash of an algorithm, by the name that S3 has for it in
// XML (after "Checksum") and in headers; nil for an unknown one.
func newChecksum(alg string) hash.Hash {
	switch strings.ToUpper(alg) {
	case "CRC32":
		return crc32.NewIEEE()
	case "CRC32C":
		return crc32.New(crc32.MakeTable(crc32.Castagnoli))
	case "CRC64NVME":
		return crc64.New(nvmeTable)
	case "SHA1":
		return sha1.New()
	case "SHA256":
		return sha256.New()
	}
	return nil
}

// checksumOf names the algorithm behind a header or trailer, or "".
func checksumOf(header string) string {
	name, ok := strings.CutPrefix(strings.ToLower(header), "x-amz-checksum-")
	if ok && newChecksum(name) != nil {
		return strings.ToUpper(name)
	}
	return ""
}

func checksumHeader(alg string) string { return "X-Amz-Checksum-" + alg }

func base64Sum(h hash.Hash) string { return base64.StdEncoding.EncodeToString(h.Sum(nil)) }

// combineCRC joins the CRCs of parts into that of the whole without reading
// them again: crc(a‖b) = crc(a)·x^(8·len(b)) + crc(b), modulo the polynomial
// (zlib's crc32_combine, for any reflected polynomial). ok is false for
// algorithms that cannot be combined.
func combineCRC(alg string, parts []string, sizes []int64) (sum string, ok bool) {
	var poly uint64
	width := 32
	switch alg {
	case "CRC32":
		poly = crc32.IEEE
	case "CRC32C":
		poly = crc32.Castagnoli
	case "CRC64NVME":
		poly, width = nvmePoly, 64
	default:
		return "", false
	}
	var whole uint64
	for i, p := range parts {
		raw, err := base64.StdEncoding.DecodeString(p)
		if err != nil || len(raw) != width/8 {
			return "", false
		}
		var crc uint64
		for _, b := range raw {
			crc = crc<<8 | uint64(b)
		}
		whole = polyMul(whole, polyPow8(sizes[i], poly, width), poly, width) ^ crc
	}
	out := binary.BigEndian.AppendUint64(nil, whole)
	return base64.StdEncoding.EncodeToString(out[8-width/8:]), true
}

// polyMul multiplies two polynomials over GF(2) in reflected form: the highest
// bit is x^0.
func polyMul(a, b, poly uint64, width int) uint64 {
	var p uint64
	for m := uint64(1) << (width - 1); m != 0; m >>= 1 {
		if a&m != 0 {
			p ^= b
		}
		if b&1 != 0 {
			b = b>>1 ^ poly
		} else {
			b >>= 1
		}
	}
	return p
}

// polyPow8 is x^(8n).
func polyPow8(n int64, poly uint64, width int) uint64 {
	result := uint64(1) << (width - 1)
	base := uint64(1) << (width - 1 - 8) // x^8
	for ; n > 0; n >>= 1 {
		if n&1 != 0 {
			result = polyMul(result, base, poly, width)
		}
		base = polyMul(base, base, poly, width)
	}
	return result
}
