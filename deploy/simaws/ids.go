package simaws

import "crypto/rand"

const (
	upper32 = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
	upper36 = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
	alnum   = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
	secret  = alnum + "+/"
)

// randomFrom draws n characters of an alphabet, without bias.
func randomFrom(alphabet string, n int) string {
	limit := byte(256 / len(alphabet) * len(alphabet) & 0xff) // 0 when 256 divides evenly
	out := make([]byte, 0, n)
	var buf [64]byte
	for len(out) < n {
		rand.Read(buf[:])
		for _, b := range buf {
			if limit != 0 && b >= limit {
				continue
			}
			if out = append(out, alphabet[int(b)%len(alphabet)]); len(out) == n {
				break
			}
		}
	}
	return string(out)
}

// uniqueID makes an IAM unique id such as AROA… (21 characters):
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html
func uniqueID(prefix string) string { return prefix + randomFrom(upper32, 21-len(prefix)) }

// accessKeyID makes AKIA… or ASIA… (20 characters).
func accessKeyID(prefix string) string { return prefix + randomFrom(upper32, 20-len(prefix)) }

func secretKey() string { return randomFrom(secret, 40) }
