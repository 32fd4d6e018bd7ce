package sigv4

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math/big"
)

// ecdsaKey derives the P-256 key of a secret: NIST SP 800-108 in counter mode,
// candidates above n-2 rejected, as AWS's SDKs do it.
func (k *Keys) ecdsaKey(accessKeyID, secret string) (*ecdsa.PrivateKey, error) {
	n2 := new(big.Int).Sub(elliptic.P256().Params().N, big.NewInt(2))
	for counter := 1; counter <= 254; counter++ {
		h := hmac.New(sha256.New, []byte("AWS4A"+secret))
		h.Write([]byte{0, 0, 0, 1})
		h.Write([]byte(algECDSA))
		h.Write([]byte{0})
		h.Write([]byte(accessKeyID))
		h.Write([]byte{byte(counter), 0, 0, 1, 0})
		c := new(big.Int).SetBytes(h.Sum(nil))
		if c.Cmp(n2) > 0 {
			continue
		}
		d := c.Add(c, big.NewInt(1))
		key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), d.FillBytes(make([]byte, 32)))
		if err != nil {
			return nil, fmt.Errorf("derive SigV4A key: %w", err)
		}
		return key, nil
	}
	return nil, fmt.Errorf("derive SigV4A key: no candidate in range")
}

func verifyECDSA(pub *ecdsa.PublicKey, msg []byte, signature string) bool {
	sig, err := hex.DecodeString(signature)
	if err != nil {
		return false
	}
	sum := sha256.Sum256(msg)
	return ecdsa.VerifyASN1(pub, sum[:], sig)
}

func signECDSA(key *ecdsa.PrivateKey, msg []byte) (string, error) {
	sum := sha256.Sum256(msg)
	sig, err := ecdsa.SignASN1(rand.Reader, key, sum[:])
	if err != nil {
		return "", fmt.Errorf("sign with SigV4A: %w", err)
	}
	return hex.EncodeToString(sig), nil
}
