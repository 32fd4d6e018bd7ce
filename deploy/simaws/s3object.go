package simaws

import (
	"bytes"
	"crypto/md5"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// copyBuffers are what object data passes through: memory stays constant
// however large an object is.
var copyBuffers = sync.Pool{New: func() any { b := make([]byte, 256<<10); return &b }}

func copyData(dst io.Writer, src io.Reader) (int64, error) {
	buf := copyBuffers.Get().(*[]byte)
	defer copyBuffers.Put(buf)
	// Neither side may bring its own copy loop (ReaderFrom, WriterTo).
	return io.CopyBuffer(struct{ io.Writer }{dst}, struct{ io.Reader }{src}, *buf)
}

// received is a body that was written to disk and verified.
type received struct {
	segment
	md5  string
	sums map[string]string
}

// receive writes the body to a data file. The file belongs to the caller.
func (c *s3Call) receive(algs ...string) (received, error) {
	body, err := c.openBody(algs...)
	if err != nil {
		return received{}, err
	}
	seg, err := c.bucket.writeData(body)
	if err != nil {
		return received{}, err
	}
	out := received{segment: seg, md5: hex.EncodeToString(body.md5.Sum(nil)), sums: map[string]string{}}
	for alg, h := range body.sums {
		out.sums[alg] = base64Sum(h)
	}
	return out, nil
}

// storedHeaders are the request headers that come back with the object.
func storedHeaders(h http.Header) map[string]string {
	out := map[string]string{}
	for name, v := range h {
		switch name {
		case "Content-Type", "Cache-Control", "Content-Disposition", "Content-Language", "Expires",
			"X-Amz-Storage-Class", "X-Amz-Website-Redirect-Location":
			out[name] = v[0]
		case "Content-Encoding":
			// aws-chunked is of the transfer, the rest of the object.
			var keep []string
			for e := range strings.SplitSeq(strings.Join(v, ","), ",") {
				if e = strings.TrimSpace(e); e != "" && e != "aws-chunked" {
					keep = append(keep, e)
				}
			}
			if len(keep) > 0 {
				out[name] = strings.Join(keep, ",")
			}
		default:
			if strings.HasPrefix(name, "X-Amz-Meta-") {
				out[name] = strings.Join(v, ",")
			}
		}
	}
	if out["X-Amz-Storage-Class"] == "STANDARD" {
		delete(out, "X-Amz-Storage-Class")
	}
	return out
}

func headerTags(h http.Header) (map[string]string, error) {
	q, err := url.ParseQuery(h.Get("X-Amz-Tagging"))
	if err != nil {
		return nil, failure(http.StatusBadRequest, "InvalidArgument", "The header 'x-amz-tagging' shall be encoded as UTF-8 then URLEncoded URL query parameters without tag name duplicates.")
	}
	tags := map[string]string{}
	for k, v := range q {
		tags[k] = v[0]
	}
	return tags, nil
}

// writeConditions are If-Match and If-None-Match on a write:
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html
func writeConditions(h http.Header) func(*object) error {
	match, none := h.Get("If-Match"), h.Get("If-None-Match")
	if match == "" && none == "" {
		return nil
	}
	failed := func(cond string) error {
		return failure(http.StatusPreconditionFailed, "PreconditionFailed", "At least one of the pre-conditions you specified did not hold", field{"Condition", cond})
	}
	return func(old *object) error {
		if none == "*" && old != nil {
			return failed("If-None-Match")
		}
		if match != "" && old == nil {
			return failure(http.StatusNotFound, "NoSuchKey", "The specified key does not exist.")
		}
		if match != "" && strings.Trim(match, `"`) != strings.Trim(old.ETag, `"`) {
			return failed("If-Match")
		}
		return nil
	}
}

func putObject(c *s3Call) error {
	if c.r.ContentLength > 5<<30 {
		return failure(http.StatusBadRequest, "EntityTooLarge", "Your proposed upload exceeds the maximum allowed size")
	}
	tags, err := headerTags(c.r.Header)
	if err != nil {
		return err
	}
	got, err := c.receive()
	if err != nil {
		return err
	}
	o := &object{Key: c.key, Segments: []segment{got.segment}, Size: got.Size, ETag: `"` + got.md5 + `"`,
		Modified: c.at.Truncate(time.Second), Headers: storedHeaders(c.r.Header), Tags: tags}
	for alg, sum := range got.sums {
		o.Alg, o.Sum, o.SumType = alg, sum, "FULL_OBJECT"
	}
	if err := c.bucket.put(o, writeConditions(c.r.Header)); err != nil {
		c.bucket.dropData(o.Segments)
		return err
	}
	c.stored(o)
	c.w.Header().Set("Content-Length", "0")
	c.w.WriteHeader(http.StatusOK)
	return nil
}

// stored sets the headers that answer a write.
func (c *s3Call) stored(o *object) {
	h := c.w.Header()
	h.Set("ETag", o.ETag)
	h.Set("X-Amz-Server-Side-Encryption", "AES256")
	if o.Alg != "" {
		h.Set(checksumHeader(o.Alg), o.Sum)
		h.Set("X-Amz-Checksum-Type", o.SumType)
	}
	c.event.response = map[string]any{"x-amz-server-side-encryption": "AES256"}
}

func noSuchKey(key string) error {
	return failure(http.StatusNotFound, "NoSuchKey", "The specified key does not exist.", field{"Key", key})
}

// acquired pins the call's object, or says in AWS's words that there is none:
// who may not list is not told.
func (c *s3Call) acquired() (*object, error) {
	if v := c.param("versionId"); v != "" && v != "null" {
		return nil, failure(http.StatusNotFound, "NoSuchVersion", "The specified version does not exist.", field{"Key", c.key}, field{"VersionId", v})
	}
	o := c.bucket.acquire(c.key)
	if o == nil {
		if c.allowed(c.bucket, "s3:ListBucket", c.arn("")) != nil {
			return nil, failure(http.StatusForbidden, "AccessDenied", "Access Denied")
		}
		return nil, noSuchKey(c.key)
	}
	return o, nil
}

// getObject serves GetObject and HeadObject.
func getObject(c *s3Call) error {
	o, err := c.acquired()
	if err != nil {
		return err
	}
	defer c.bucket.release(o)
	h := c.w.Header()
	h.Set("ETag", o.ETag)
	h.Set("Last-Modified", o.Modified.UTC().Format(http.TimeFormat))
	if e := readConditions(c.r.Header, o); e != nil {
		return e
	}
	offset, length, status := int64(0), o.Size, http.StatusOK
	if r := c.r.Header.Get("Range"); r != "" {
		var ok bool
		if offset, length, ok = parseRange(r, o.Size); !ok {
			return failure(http.StatusRequestedRangeNotSatisfiable, "InvalidRange", "The requested range is not satisfiable",
				field{"RangeRequested", r}, field{"ActualObjectSize", strconv.FormatInt(o.Size, 10)})
		}
		if length >= 0 {
			status = http.StatusPartialContent
		} else {
			offset, length = 0, o.Size // a range that S3 ignores
		}
	} else if p := c.param("partNumber"); p != "" {
		n, err := strconv.Atoi(p)
		if err != nil || n < 1 || n > max(1, len(o.Segments)) {
			return failure(http.StatusRequestedRangeNotSatisfiable, "InvalidPartNumber", "The requested partnumber is not satisfiable")
		}
		for _, s := range o.Segments[:n-1] {
			offset += s.Size
		}
		length, status = o.Segments[n-1].Size, http.StatusPartialContent
		h.Set("X-Amz-Mp-Parts-Count", strconv.Itoa(len(o.Segments)))
	}
	c.objectHeaders(o, status == http.StatusOK)
	if status == http.StatusPartialContent {
		h.Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", offset, offset+length-1, o.Size))
	}
	h.Set("Content-Length", strconv.FormatInt(length, 10))
	c.w.WriteHeader(status)
	if c.r.Method == http.MethodHead {
		return nil
	}
	rd := c.bucket.reader(o, offset, length)
	defer rd.Close()
	_, err = copyData(c.w, rd)
	return err
}

// objectHeaders sets what describes the object; overrides come from the query.
func (c *s3Call) objectHeaders(o *object, whole bool) {
	h := c.w.Header()
	h.Set("Accept-Ranges", "bytes")
	h.Set("Content-Type", "binary/octet-stream")
	h.Set("X-Amz-Server-Side-Encryption", "AES256")
	for k, v := range o.Headers {
		h.Set(k, v)
	}
	for _, n := range []string{"Content-Type", "Content-Language", "Expires", "Cache-Control", "Content-Disposition", "Content-Encoding"} {
		if v, ok := c.lookup("response-" + strings.ToLower(n)); ok {
			h.Set(n, v)
		}
	}
	c.bucket.mu.RLock()
	tags := len(o.Tags) // the one field that can change
	c.bucket.mu.RUnlock()
	if tags > 0 {
		h.Set("X-Amz-Tagging-Count", strconv.Itoa(tags))
	}
	if whole && o.Alg != "" && strings.EqualFold(c.r.Header.Get("X-Amz-Checksum-Mode"), "ENABLED") {
		h.Set(checksumHeader(o.Alg), o.Sum)
		h.Set("X-Amz-Checksum-Type", o.SumType)
	}
}

func readConditions(h http.Header, o *object) *apiError {
	same := func(list string) bool {
		for v := range strings.SplitSeq(list, ",") {
			if v = strings.TrimSpace(v); v == "*" || strings.Trim(v, `"`) == strings.Trim(o.ETag, `"`) {
				return true
			}
		}
		return false
	}
	failed := func(cond string) *apiError {
		return failure(http.StatusPreconditionFailed, "PreconditionFailed", "At least one of the pre-conditions you specified did not hold", field{"Condition", cond})
	}
	if v := h.Get("If-Match"); v != "" {
		if !same(v) {
			return failed("If-Match")
		}
	} else if t, err := http.ParseTime(h.Get("If-Unmodified-Since")); err == nil && o.Modified.After(t) {
		return failed("If-Unmodified-Since")
	}
	if v := h.Get("If-None-Match"); v != "" {
		if same(v) {
			return failure(http.StatusNotModified, "NotModified", "Not Modified")
		}
	} else if t, err := http.ParseTime(h.Get("If-Modified-Since")); err == nil && !o.Modified.After(t) {
		return failure(http.StatusNotModified, "NotModified", "Not Modified")
	}
	return nil
}

// parseRange reads a single byte range. A length of -1 means that the header
// is to be ignored, as S3 does with what it does not understand.
func parseRange(v string, size int64) (offset, length int64, ok bool) {
	spec, found := strings.CutPrefix(v, "bytes=")
	from, to, dash := strings.Cut(spec, "-")
	if !found || !dash || strings.Contains(spec, ",") {
		return 0, -1, true
	}
	if from == "" {
		n, err := strconv.ParseInt(to, 10, 64)
		if err != nil {
			return 0, -1, true
		}
		if n == 0 || size == 0 {
			return 0, 0, false
		}
		n = min(n, size)
		return size - n, n, true
	}
	a, err := strconv.ParseInt(from, 10, 64)
	if err != nil || a < 0 {
		return 0, -1, true
	}
	b := size - 1
	if to != "" {
		if b, err = strconv.ParseInt(to, 10, 64); err != nil || b < a {
			return 0, -1, true
		}
		b = min(b, size-1)
	}
	if a >= size {
		return 0, 0, false
	}
	return a, b - a + 1, true
}

func deleteObject(c *s3Call) error {
	if err := c.bucket.delete(c.key); err != nil {
		return err
	}
	return c.noContent()
}

// deleteObjects: each key is allowed or refused on its own.
func deleteObjects(c *s3Call) error {
	var in struct {
		Quiet  bool
		Object []struct{ Key string }
	}
	if err := xml.Unmarshal(c.body, &in); err != nil || len(in.Object) == 0 || len(in.Object) > 1000 {
		return malformedXML()
	}
	return c.xml(func(b *bytes.Buffer) {
		b.WriteString("<DeleteResult " + s3Namespace + ">")
		for _, o := range in.Object {
			err := c.allowed(c.bucket, "s3:DeleteObject", c.arn(o.Key))
			if err == nil {
				err = c.bucket.delete(o.Key)
			}
			c.event.resources = append(c.event.resources, resource{Type: "AWS::S3::Object", ARN: c.arn(o.Key)})
			if e, ok := errors.AsType[*apiError](err); ok || err != nil {
				if !ok {
					e = failure(http.StatusInternalServerError, "InternalError", err.Error())
				}
				b.WriteString("<Error>")
				element(b, "Key", o.Key)
				element(b, "Code", e.code)
				element(b, "Message", e.message)
				b.WriteString("</Error>")
			} else if !in.Quiet {
				b.WriteString("<Deleted>")
				element(b, "Key", o.Key)
				b.WriteString("</Deleted>")
			}
		}
		b.WriteString("</DeleteResult>")
	})
}

// copySource resolves x-amz-copy-source to a pinned object; done lets go.
func (c *s3Call) copySource() (b *bucket, o *object, done func(), err error) {
	src, _, _ := strings.Cut(c.r.Header.Get("X-Amz-Copy-Source"), "?versionId=")
	src, err = percentDecode(strings.TrimPrefix(src, "/"))
	name, key, ok := strings.Cut(src, "/")
	if err != nil || !ok || key == "" {
		return nil, nil, nil, failure(http.StatusBadRequest, "InvalidArgument", "Copy Source must mention the source bucket and key: sourcebucket/sourcekey")
	}
	if b = c.store.bucket(name); b == nil {
		return nil, nil, nil, failure(http.StatusNotFound, "NoSuchBucket", "The specified bucket does not exist", field{"BucketName", name})
	}
	from := &s3Call{call: c.call, bucketName: name, key: key, bucket: b, store: c.store}
	if err := c.allowed(b, "s3:GetObject", from.arn(key)); err != nil {
		return nil, nil, nil, err
	}
	if o, err = from.acquired(); err != nil {
		return nil, nil, nil, err
	}
	return b, o, func() { b.release(o) }, nil
}

func copyObject(c *s3Call) error {
	from, src, done, err := c.copySource()
	if err != nil {
		return err
	}
	defer done()
	from.mu.RLock()
	tags := maps.Clone(src.Tags)
	from.mu.RUnlock()
	o := &object{Key: c.key, Size: src.Size, ETag: src.ETag, Modified: c.at.Truncate(time.Second),
		Headers: maps.Clone(src.Headers), Alg: src.Alg, Sum: src.Sum, SumType: src.SumType, Tags: tags}
	if strings.EqualFold(c.r.Header.Get("X-Amz-Metadata-Directive"), "REPLACE") {
		o.Headers = storedHeaders(c.r.Header)
	}
	if strings.EqualFold(c.r.Header.Get("X-Amz-Tagging-Directive"), "REPLACE") {
		if o.Tags, err = headerTags(c.r.Header); err != nil {
			return err
		}
	}
	if o.Segments, err = c.bucket.linkData(from, src.Segments); err != nil {
		return err
	}
	if err := c.bucket.put(o, nil); err != nil {
		c.bucket.dropData(o.Segments)
		return err
	}
	c.stored(o)
	return c.xml(func(b *bytes.Buffer) { copyResult(b, "CopyObjectResult", o.ETag, o.Modified) })
}

func copyResult(b *bytes.Buffer, name, etag string, at time.Time) {
	b.WriteString("<" + name + " " + s3Namespace + ">")
	element(b, "LastModified", s3Time(at))
	element(b, "ETag", etag)
	b.WriteString("</" + name + ">")
}

// PutObject stores an object directly, for seeding.
func (s *Sim) PutObject(bucketName, key string, body io.Reader) error {
	b := s.s3.bucket(bucketName)
	if b == nil {
		return fmt.Errorf("simaws: no bucket %q", bucketName)
	}
	sum := md5.New()
	seg, err := b.writeData(io.TeeReader(body, sum))
	if err != nil {
		return fmt.Errorf("simaws: put %s/%s: %w", bucketName, key, err)
	}
	o := &object{Key: key, Segments: []segment{seg}, Size: seg.Size, ETag: `"` + hex.EncodeToString(sum.Sum(nil)) + `"`,
		Modified: s.now().Truncate(time.Second), Headers: map[string]string{}}
	if err := b.put(o, nil); err != nil {
		b.dropData(o.Segments)
		return fmt.Errorf("simaws: put %s/%s: %w", bucketName, key, err)
	}
	return nil
}

func tagList(tags map[string]string) tagSetXML {
	var t tagSetXML
	for _, k := range slices.Sorted(maps.Keys(tags)) {
		t.Tag = append(t.Tag, tagXML{k, tags[k]})
	}
	return t
}
