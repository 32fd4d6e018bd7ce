package query

import (
	"strings"
	"testing"
)

// A pattern means what it did as an expression, and many * in it cost no more than one.
func TestGlob(t *testing.T) {
	for _, c := range []struct {
		pattern, s string
		want       bool
	}{
		{"", "", true}, {"", "a", false}, {"a", "a", true}, {"a", "ab", false}, {"*", "", true}, {"*", "a\nb", true}, {"**", "a", true},
		{"a*", "a", true}, {"a*", "ba", false}, {"*a", "ba", true}, {"*a", "ab", false}, {"a*a", "a", false}, {"a*a", "aa", true}, {"a*b*c", "abc", true},
		{"a*b*c", "axbybzc", true}, {"a*b*c", "acb", false}, {"*ab*ab", "ab", false}, {"*ab*ab", "abab", true}, {"*ab*ab", "abxab", true}, {"a**b", "ab", true}, {"a.c*", "abc", false}, {"s3:*Acl", "s3:GetObjectAcl", true},
	} {
		if glob(c.pattern)(c.s) != c.want {
			t.Errorf("%q of %q: %v", c.s, c.pattern, !c.want)
		}
	}
	of := glob("Get" + strings.Repeat("*", 100_000) + "Object")
	for range 100_000 {
		if of("GetBucketLifecycleConfiguration") {
			t.Fatal("found what ends otherwise")
		}
	}
}
