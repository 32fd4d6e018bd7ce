package simaws

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
)

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
	if _, err = copyData(c.w, rd); c.w.failed {
		return nil // the client went away, which is no failure of S3's
	}
	return err
}

// objectHeaders sets what describes the object; overrides come from the query.
func (c *s3Call) objectHeaders(o *object, whole bool) {
	h := c.w.Header()
	h.Set("Accept-Ranges", "bytes")
	h.Set("Content-Type", "binary/octet-stream")
	h.Set("X-Amz-Server-Side-Encryption", "AES256")
	for k, v := range o.Headers {
		if strings.HasPrefix(k, "X-Amz-Meta-") { // S3 writes these in lower case, and clients keep it
			h[strings.ToLower(k)] = []string{v}
			continue
		}
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
