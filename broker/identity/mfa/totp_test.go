package mfa

import (
	"testing"
	"time"
)

// RFC 6238, appendix B, the last six of its eight digits.
func TestCode(t *testing.T) {
	secret := []byte("12345678901234567890")
	for at, want := range map[int64]string{59: "287082", 1111111109: "081804", 1111111111: "050471", 1234567890: "005924", 2000000000: "279037", 20000000000: "353130"} {
		if got := Code(secret, Step(time.Unix(at, 0))); got != want {
			t.Errorf("at %d: %s, want %s", at, got, want)
		}
	}
}

func TestMatch(t *testing.T) {
	secret, now := []byte("12345678901234567890"), time.Unix(1111111111, 0)
	for off, want := range map[int64]bool{-2: false, -1: true, 0: true, 1: true, 2: false} {
		step, ok := Match(secret, Code(secret, Step(now)+off), now)
		if ok != want || ok && step != Step(now)+off {
			t.Errorf("%d steps off: %d, %t", off, step, ok)
		}
	}
	if _, ok := Match(secret, "050 471", now); !ok {
		t.Error("a code in two groups was refused")
	}
	for _, bad := range []string{"", "05047", "0504711", "000000"} {
		if _, ok := Match(secret, bad, now); ok {
			t.Errorf("%q was taken", bad)
		}
	}
}

func TestURI(t *testing.T) {
	const want = "otpauth://totp/postern%20%28eu%29:alice@example.com?issuer=postern%20%28eu%29&secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"
	if got := URI("postern (eu)", "alice@example.com", []byte("12345678901234567890")); got != want {
		t.Errorf("%s, want %s", got, want)
	}
}
