package simaws

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"math/big"
	"slices"
)

// checkWith readies sig.check for the secret of who signed.
func (s *signature) checkWith(who *identity) error {
	if s.alg == algorithmECDSA {
		key, err := publicKeyOf(s.accessKey, who.secret)
		if err != nil {
			return err
		}
		s.check = func(msg, signature string) bool {
			der, err := hex.DecodeString(signature)
			sum := sha256.Sum256([]byte(msg))
			return err == nil && ecdsa.VerifyASN1(key, sum[:], der)
		}
		return nil
	}
	key := signingKey(who.secret, s.date, s.region, s.service)
	s.check = func(msg, signature string) bool {
		mac, err := hex.DecodeString(signature)
		return err == nil && hmac.Equal(hmacSHA256(key, msg), mac)
	}
	return nil
}

// publicKeyOf derives the P-256 key of SigV4A from a secret: of the KDF in counter
// mode of NIST SP 800-108, with HMAC-SHA256, the first 256 bits that are at most the
// group's order less two; the key is that plus one.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
func publicKeyOf(accessKey, secret string) (*ecdsa.PublicKey, error) {
	curve := elliptic.P256()
	limit := new(big.Int).Sub(curve.Params().N, big.NewInt(2))
	for try := 1; try < 255; try++ {
		in := binary.BigEndian.AppendUint32(nil, 1)
		in = append(append(in, algorithmECDSA...), 0)
		in = append(append(in, accessKey...), byte(try))
		in = binary.BigEndian.AppendUint32(in, 256) // bits wanted
		n := new(big.Int).SetBytes(hmacSHA256([]byte("AWS4A"+secret), string(in)))
		if n.Cmp(limit) > 0 {
			continue
		}
		key, err := ecdsa.ParseRawPrivateKey(curve, n.Add(n, big.NewInt(1)).FillBytes(make([]byte, 32)))
		if err != nil {
			return nil, err
		}
		return &key.PublicKey, nil
	}
	return nil, errors.New("no key of SigV4A can be derived from this secret")
}

// coveredBy tells whether a region set, whose entries may hold wildcards, has a region.
func coveredBy(set []string, region string) bool {
	return slices.ContainsFunc(set, func(pattern string) bool { return wildcard(pattern, region) })
}
