package awsreq

import "strings"

// addCBOR reads the texts and lists of texts at the top of a map, of Smithy RPC v2
// (RFC 8949; https://smithy.io/2.0/additional-specs/protocols/smithy-rpc-v2.html).
func (p *params) addCBOR(body []byte) {
	c := cbor{rest: body}
	c.each(5, func() {
		name := c.text()
		p.add(name, "", false)
		switch major := c.bare(); {
		case major == 3:
			p.add(name, c.text(), true)
		case major == 4:
			c.each(4, func() {
				if c.bare() == 3 {
					p.add(name, c.text(), true)
				} else {
					c.skip()
				}
			})
		default:
			c.skip()
		}
	})
	if c.bad || len(c.rest) > 0 {
		p.doubtful("has a body that is not one CBOR map") // whoever reads it may see anything
	}
}

// cbor reads from the front of rest; bad once it could not.
type cbor struct {
	rest  []byte
	depth int
	bad   bool
}

// peek is the major type of the next item, 8 for the "break" of an open one.
func (c *cbor) peek() int {
	switch {
	case c.bad || len(c.rest) == 0:
		c.bad = true
		return -1
	case c.rest[0] == 0xff:
		return 8
	}
	return int(c.rest[0] >> 5)
}

// bare is peek behind tags: who does not know a tag reads what it is on (RFC 8949, section 3.4).
func (c *cbor) bare() int {
	for c.peek() == 6 {
		c.head()
	}
	return c.peek()
}

// head reads an item's head: its argument, and whether it is open-ended.
func (c *cbor) head() (major int, n uint64, open bool) {
	if major = c.peek(); major < 0 || major == 8 {
		c.bad = true
		return major, 0, false
	}
	info := c.rest[0] & 31
	c.rest = c.rest[1:]
	switch {
	case info < 24:
		return major, uint64(info), false
	case info == 31 && major >= 2 && major <= 5:
		return major, 0, true
	case info > 27 || len(c.rest) < 1<<(info-24):
		c.bad = true
		return major, 0, false
	}
	width := 1 << (info - 24)
	for _, b := range c.rest[:width] {
		n = n<<8 | uint64(b)
	}
	c.rest = c.rest[width:]
	return major, n, false
}

// take cuts n bytes off.
func (c *cbor) take(n uint64) []byte {
	if c.bad || n > uint64(len(c.rest)) {
		c.bad = true
		return nil
	}
	out := c.rest[:n]
	c.rest = c.rest[n:]
	return out
}

func (c *cbor) text() string {
	if c.peek() != 3 {
		c.bad = true
		return ""
	}
	return string(c.bytes(3))
}

// bytes reads a string of bytes (2) or text (3), in one part or several.
func (c *cbor) bytes(major int) []byte {
	got, n, open := c.head()
	switch {
	case c.bad || got != major:
		c.bad = true
		return nil
	case !open:
		return c.take(n)
	}
	var all []byte
	for !c.bad && c.peek() != 8 {
		part, n, open := c.head()
		if c.bad = c.bad || open || part != major; !c.bad {
			all = append(all, c.take(n)...)
		}
	}
	c.take(1)
	return all
}

// each calls item for every element of a list (4) or entry of a map (5), which
// reads it.
func (c *cbor) each(major int, item func()) {
	got, n, open := c.head()
	if c.depth++; c.bad || got != major || c.depth > maxCBORDepth {
		c.bad = true
		return
	}
	for i := uint64(0); !c.bad && (open && c.peek() != 8 || !open && i < n); i++ {
		item()
	}
	if open {
		c.take(1)
	}
	c.depth--
}

// skip passes over one item.
func (c *cbor) skip() {
	switch major := c.peek(); major {
	case 0, 1, 7:
		c.head()
	case 2, 3:
		c.bytes(major)
	case 4:
		c.each(4, c.skip)
	case 5:
		c.each(5, func() { c.skip(); c.skip() })
	case 6:
		c.head()
		if c.depth++; c.depth > maxCBORDepth {
			c.bad = true
		}
		if !c.bad {
			c.skip()
		}
		c.depth--
	default:
		c.bad = true
	}
}

// isCBOR tells a request of Smithy RPC v2.
func isCBOR(in *Input) bool {
	v := in.Header["Smithy-Protocol"]
	return len(v) == 1 && strings.HasPrefix(v[0], "rpc-v2-cbor")
}
