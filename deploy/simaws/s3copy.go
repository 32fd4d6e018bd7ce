package simaws

import (
	"bytes"
	"maps"
	"net/http"
	"strings"
	"time"
)

// copySource resolves x-amz-copy-source to a pinned object; done lets go.
func (c *s3Call) copySource() (b *bucket, o *object, done func(), err error) {
	src, _, _ := strings.Cut(c.r.Header.Get("X-Amz-Copy-Source"), "?versionId=")
	src, err = percentDecode(src)
	name, key, ok := strings.Cut(strings.TrimPrefix(src, "/"), "/") // clients encode it as a whole, too
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
