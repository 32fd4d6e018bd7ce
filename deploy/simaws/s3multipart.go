package simaws

import (
	"bytes"
	"crypto/md5"
	"encoding/base64"
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

const minPart = 5 << 20 // all but the last

func createUpload(c *s3Call) error {
	tags, err := headerTags(c.r.Header)
	if err != nil {
		return err
	}
	u := &upload{ID: randomFrom(alnum, 64), Key: c.key, Started: c.at, Headers: storedHeaders(c.r.Header), Tags: tags,
		Alg: strings.ToUpper(c.r.Header.Get("X-Amz-Checksum-Algorithm")), SumType: strings.ToUpper(c.r.Header.Get("X-Amz-Checksum-Type")), Parts: map[int]*part{}}
	if u.Alg != "" {
		if newChecksum(u.Alg) == nil {
			return failure(http.StatusBadRequest, "InvalidRequest", "Checksum algorithm provided is unsupported. Please try again with any of the valid types: [CRC32, CRC32C, CRC64NVME, SHA1, SHA256]")
		}
		if u.SumType == "" {
			if u.SumType = "COMPOSITE"; u.Alg == "CRC64NVME" {
				u.SumType = "FULL_OBJECT"
			}
		}
		if u.SumType == "FULL_OBJECT" && strings.HasPrefix(u.Alg, "SHA") || u.SumType == "COMPOSITE" && u.Alg == "CRC64NVME" {
			return failure(http.StatusBadRequest, "InvalidRequest", "The "+u.SumType+" checksum type cannot be used with the "+strings.ToLower(u.Alg)+" checksum algorithm.")
		}
		c.w.Header().Set("X-Amz-Checksum-Algorithm", u.Alg)
		c.w.Header().Set("X-Amz-Checksum-Type", u.SumType)
	}
	c.bucket.mu.Lock()
	defer c.bucket.mu.Unlock()
	if err := writeJSON(c.bucket.uploadFile(u.ID), u); err != nil {
		return err
	}
	c.bucket.uploads[u.ID] = u
	c.w.Header().Set("X-Amz-Server-Side-Encryption", "AES256")
	return c.xml(func(b *bytes.Buffer) {
		b.WriteString("<InitiateMultipartUploadResult " + s3Namespace + ">")
		element(b, "Bucket", c.bucketName)
		element(b, "Key", c.key)
		element(b, "UploadId", u.ID)
		b.WriteString("</InitiateMultipartUploadResult>")
	})
}

// upload finds the upload that the query names.
func (c *s3Call) upload() (*upload, error) {
	c.bucket.mu.RLock()
	defer c.bucket.mu.RUnlock()
	u := c.bucket.uploads[c.param("uploadId")]
	if u == nil || u.Key != c.key {
		return nil, failure(http.StatusNotFound, "NoSuchUpload", "The specified multipart upload does not exist. The upload ID may be invalid, or the upload may have been aborted or completed.", field{"UploadId", c.param("uploadId")})
	}
	return u, nil
}

func (c *s3Call) partNumber() (int, error) {
	n, err := strconv.Atoi(c.param("partNumber"))
	if err != nil || n < 1 || n > 10000 {
		return 0, failure(http.StatusBadRequest, "InvalidArgument", "Part number must be an integer between 1 and 10000, inclusive", field{"ArgumentName", "partNumber"}, field{"ArgumentValue", c.param("partNumber")})
	}
	return n, nil
}

func uploadPart(c *s3Call) error {
	n, err := c.partNumber()
	if err != nil {
		return err
	}
	u, err := c.upload()
	if err != nil {
		return err
	}
	var algs []string
	if u.Alg != "" {
		algs = append(algs, u.Alg)
	}
	got, err := c.receive(algs...)
	if err != nil {
		return err
	}
	p := &part{segment: got.segment, MD5: got.md5, Sum: got.sums[u.Alg], Modified: c.at, Segments: []segment{got.segment}}
	if err := c.addPart(u, n, p); err != nil {
		return err
	}
	h := c.w.Header()
	h.Set("ETag", `"`+p.MD5+`"`)
	h.Set("X-Amz-Server-Side-Encryption", "AES256")
	for alg, sum := range got.sums {
		h.Set(checksumHeader(alg), sum)
	}
	h.Set("Content-Length", "0")
	c.w.WriteHeader(http.StatusOK)
	return nil
}

// addPart stores a part, over one of the same number.
func (c *s3Call) addPart(u *upload, n int, p *part) error {
	b := c.bucket
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.uploads[u.ID] == nil { // aborted while the part came in
		b.dropData(p.Segments)
		return failure(http.StatusNotFound, "NoSuchUpload", "The specified multipart upload does not exist.")
	}
	old := u.Parts[n]
	u.Parts[n] = p
	if err := writeJSON(b.uploadFile(u.ID), u); err != nil {
		return err
	}
	if old != nil {
		b.dropData(old.Segments)
	}
	return nil
}

// uploadPartCopy reads the source once: a part's ETag is the MD5 of its bytes.
func uploadPartCopy(c *s3Call) error {
	n, err := c.partNumber()
	if err != nil {
		return err
	}
	u, err := c.upload()
	if err != nil {
		return err
	}
	from, src, done, err := c.copySource()
	if err != nil {
		return err
	}
	defer done()
	offset, length := int64(0), src.Size
	if r := c.r.Header.Get("X-Amz-Copy-Source-Range"); r != "" {
		var ok bool
		if offset, length, ok = parseRange(r, src.Size); !ok || length < 0 {
			return failure(http.StatusBadRequest, "InvalidArgument", "The x-amz-copy-source-range value must be of the form bytes=first-last where first and last are the zero-based offsets of the first and last bytes to copy")
		}
	}
	rd := from.reader(src, offset, length)
	defer rd.Close()
	sum, extra := md5.New(), newChecksum(u.Alg)
	var w io.Writer = sum
	if extra != nil {
		w = io.MultiWriter(sum, extra)
	}
	seg, err := c.bucket.writeData(io.TeeReader(rd, w))
	if err != nil {
		return err
	}
	p := &part{segment: seg, MD5: hex.EncodeToString(sum.Sum(nil)), Modified: c.at, Segments: []segment{seg}}
	if extra != nil {
		p.Sum = base64Sum(extra)
	}
	if err := c.addPart(u, n, p); err != nil {
		return err
	}
	return c.xml(func(b *bytes.Buffer) { copyResult(b, "CopyPartResult", `"`+p.MD5+`"`, c.at) })
}

func completeUpload(c *s3Call) error {
	u, err := c.upload()
	if err != nil {
		return err
	}
	var in struct {
		Part []struct {
			PartNumber                                                                     int
			ETag                                                                           string
			ChecksumCRC32, ChecksumCRC32C, ChecksumCRC64NVME, ChecksumSHA1, ChecksumSHA256 string
		}
	}
	if err := xml.Unmarshal(c.body, &in); err != nil || len(in.Part) == 0 {
		return malformedXML()
	}
	o := &object{Key: c.key, Modified: c.at.Truncate(time.Second), Headers: u.Headers, Tags: u.Tags}
	used := map[int]bool{}
	digest := md5.New()
	var sums []string
	var sizes []int64
	c.bucket.mu.RLock()
	parts := maps.Clone(u.Parts)
	c.bucket.mu.RUnlock()
	for i, want := range in.Part {
		have := parts[want.PartNumber]
		if i > 0 && want.PartNumber <= in.Part[i-1].PartNumber {
			return failure(http.StatusBadRequest, "InvalidPartOrder", "The list of parts was not in ascending order. The parts list must be specified in order by part number.")
		}
		given := map[string]string{"CRC32": want.ChecksumCRC32, "CRC32C": want.ChecksumCRC32C, "CRC64NVME": want.ChecksumCRC64NVME, "SHA1": want.ChecksumSHA1, "SHA256": want.ChecksumSHA256}
		if have == nil || strings.Trim(want.ETag, `"`) != have.MD5 || given[u.Alg] != "" && given[u.Alg] != have.Sum {
			return failure(http.StatusBadRequest, "InvalidPart", "One or more of the specified parts could not be found.  The part may not have been uploaded, or the specified entity tag may not match the part's entity tag.",
				field{"UploadId", u.ID}, field{"PartNumber", strconv.Itoa(want.PartNumber)}, field{"ETag", want.ETag})
		}
		if have.Size < minPart && i < len(in.Part)-1 {
			return failure(http.StatusBadRequest, "EntityTooSmall", "Your proposed upload is smaller than the minimum allowed size", field{"ProposedSize", strconv.FormatInt(have.Size, 10)}, field{"MinSizeAllowed", strconv.Itoa(minPart)}, field{"PartNumber", strconv.Itoa(want.PartNumber)})
		}
		used[want.PartNumber] = true
		raw, _ := hex.DecodeString(have.MD5)
		digest.Write(raw)
		sums, sizes = append(sums, have.Sum), append(sizes, have.Size)
		o.Segments, o.Size = append(o.Segments, have.Segments...), o.Size+have.Size
	}
	o.ETag = fmt.Sprintf(`"%x-%d"`, digest.Sum(nil), len(in.Part))
	if err := o.sumParts(u, sums, sizes); err != nil {
		return err
	}
	if want := c.r.Header.Get(checksumHeader(u.Alg)); u.Alg != "" && want != "" && want != o.Sum {
		return failure(http.StatusBadRequest, "BadDigest", "The "+u.Alg+" you specified did not match the calculated checksum.")
	}
	// Claimed first: two completions at once must not own the same data.
	if !c.claim(u) {
		_, err := c.upload()
		return err
	}
	if err := c.bucket.put(o, writeConditions(c.r.Header)); err != nil {
		c.bucket.mu.Lock()
		c.bucket.uploads[u.ID] = u
		c.bucket.mu.Unlock()
		return err
	}
	c.endUpload(u, used)
	c.stored(o)
	return c.xml(func(b *bytes.Buffer) {
		b.WriteString("<CompleteMultipartUploadResult " + s3Namespace + ">")
		element(b, "Location", "https://"+c.bucketName+".s3."+c.ep.region+".amazonaws.com/"+uriEncode(c.key, true))
		element(b, "Bucket", c.bucketName)
		element(b, "Key", c.key)
		element(b, "ETag", o.ETag)
		if o.Alg != "" {
			element(b, "Checksum"+o.Alg, o.Sum)
			element(b, "ChecksumType", o.SumType)
		}
		b.WriteString("</CompleteMultipartUploadResult>")
	})
}

// sumParts makes the object's checksum out of those of its parts.
func (o *object) sumParts(u *upload, sums []string, sizes []int64) error {
	if u.Alg == "" {
		return nil
	}
	o.Alg, o.SumType = u.Alg, u.SumType
	if u.SumType == "FULL_OBJECT" {
		var ok bool
		if o.Sum, ok = combineCRC(u.Alg, sums, sizes); !ok {
			return fmt.Errorf("combine %s of %d parts", u.Alg, len(sums))
		}
		return nil
	}
	h := newChecksum(u.Alg)
	for _, s := range sums {
		raw, err := base64.StdEncoding.DecodeString(s)
		if err != nil {
			return err
		}
		h.Write(raw)
	}
	o.Sum = base64Sum(h) + "-" + strconv.Itoa(len(sums))
	return nil
}

// claim takes an upload out of the index; false when somebody else did.
func (c *s3Call) claim(u *upload) bool {
	c.bucket.mu.Lock()
	defer c.bucket.mu.Unlock()
	if c.bucket.uploads[u.ID] != u {
		return false
	}
	delete(c.bucket.uploads, u.ID)
	return true
}

// endUpload forgets an upload and drops the parts that are not kept.
func (c *s3Call) endUpload(u *upload, keep map[int]bool) {
	b := c.bucket
	b.mu.Lock()
	defer b.mu.Unlock()
	removeFile(b.uploadFile(u.ID))
	for n, p := range u.Parts {
		if !keep[n] {
			b.dropData(p.Segments)
		}
	}
}

func abortUpload(c *s3Call) error {
	u, err := c.upload()
	if err != nil {
		return err
	}
	if !c.claim(u) {
		_, err := c.upload()
		return err
	}
	c.endUpload(u, nil)
	return c.noContent()
}

func listParts(c *s3Call) error {
	u, err := c.upload()
	if err != nil {
		return err
	}
	after, _ := strconv.Atoi(c.param("part-number-marker"))
	limit := 1000
	if n, err := strconv.Atoi(c.param("max-parts")); err == nil && n >= 0 {
		limit = min(n, 1000)
	}
	c.bucket.mu.RLock()
	defer c.bucket.mu.RUnlock()
	numbers := slices.DeleteFunc(slices.Sorted(maps.Keys(u.Parts)), func(n int) bool { return n <= after })
	truncated := len(numbers) > limit
	numbers = numbers[:min(limit, len(numbers))]
	return c.xml(func(b *bytes.Buffer) {
		b.WriteString("<ListPartsResult " + s3Namespace + ">")
		element(b, "Bucket", c.bucketName)
		element(b, "Key", c.key)
		element(b, "UploadId", u.ID)
		ownerXML(b, "Owner", c.bucket.meta.Account)
		element(b, "StorageClass", "STANDARD")
		element(b, "PartNumberMarker", strconv.Itoa(after))
		if truncated {
			element(b, "NextPartNumberMarker", strconv.Itoa(numbers[len(numbers)-1]))
		}
		element(b, "MaxParts", strconv.Itoa(limit))
		element(b, "IsTruncated", strconv.FormatBool(truncated))
		for _, n := range numbers {
			p := u.Parts[n]
			b.WriteString("<Part>")
			element(b, "PartNumber", strconv.Itoa(n))
			element(b, "LastModified", s3Time(p.Modified))
			element(b, "ETag", `"`+p.MD5+`"`)
			element(b, "Size", strconv.FormatInt(p.Size, 10))
			if u.Alg != "" {
				element(b, "Checksum"+u.Alg, p.Sum)
			}
			b.WriteString("</Part>")
		}
		b.WriteString("</ListPartsResult>")
	})
}

func listUploads(c *s3Call) error {
	b := c.bucket
	b.mu.RLock()
	defer b.mu.RUnlock()
	list := slices.SortedFunc(maps.Values(b.uploads), func(x, y *upload) int {
		if d := strings.Compare(x.Key, y.Key); d != 0 {
			return d
		}
		return x.Started.Compare(y.Started)
	})
	prefix := c.param("prefix")
	return c.xml(func(out *bytes.Buffer) {
		out.WriteString("<ListMultipartUploadsResult " + s3Namespace + ">")
		element(out, "Bucket", c.bucketName)
		element(out, "Prefix", prefix)
		element(out, "IsTruncated", "false")
		for _, u := range list {
			if !strings.HasPrefix(u.Key, prefix) {
				continue
			}
			out.WriteString("<Upload>")
			element(out, "Key", u.Key)
			element(out, "UploadId", u.ID)
			ownerXML(out, "Owner", b.meta.Account)
			element(out, "StorageClass", "STANDARD")
			element(out, "Initiated", s3Time(u.Started))
			out.WriteString("</Upload>")
		}
		out.WriteString("</ListMultipartUploadsResult>")
	})
}
