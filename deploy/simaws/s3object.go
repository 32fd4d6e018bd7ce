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

// stored tells of a new object and sets the headers that answer a write.
func (c *s3Call) stored(o *object) {
	c.created(c.bucket, o)
	h := c.w.Header()
	h.Set("ETag", o.ETag)
	h.Set("X-Amz-Server-Side-Encryption", "AES256")
	if o.Alg != "" {
		h.Set(checksumHeader(o.Alg), o.Sum)
		h.Set("X-Amz-Checksum-Type", o.SumType)
	}
	c.event.response = map[string]any{"x-amz-server-side-encryption": "AES256"}
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

// PutObject stores an object directly, for seeding.
func (s *Sim) PutObject(bucketName, key string, body io.Reader) error {
	return s.store(bucketName, key, body, map[string]string{})
}

func (s *Sim) store(bucketName, key string, body io.Reader, headers map[string]string) error {
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
		Modified: s.now().Truncate(time.Second), Headers: headers}
	if err := b.put(o, nil); err != nil {
		b.dropData(o.Segments)
		return fmt.Errorf("simaws: put %s/%s: %w", bucketName, key, err)
	}
	s.created(b, o)
	return nil
}

func tagList(tags map[string]string) tagSetXML {
	var t tagSetXML
	for _, k := range slices.Sorted(maps.Keys(tags)) {
		t.Tag = append(t.Tag, tagXML{k, tags[k]})
	}
	return t
}
