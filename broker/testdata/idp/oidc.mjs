// An OpenID provider (npm oidc-provider) for tests. argv: redirect URI, client
// secret. Whoever types a name is signed in; what the name says decides the claims.
import { createServer } from 'node:http';
import Provider from 'oidc-provider';

const [redirect, secret] = process.argv.slice(2);
const server = createServer();
server.listen(0, '127.0.0.1', () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  const provider = new Provider(issuer, {
    clients: [{
      client_id: 'postern', client_secret: secret, redirect_uris: [redirect], response_types: ['code'],
      grant_types: ['authorization_code', 'urn:ietf:params:oauth:grant-type:device_code'],
    }],
    scopes: ['openid', 'email', 'groups'],
    claims: { openid: ['sub'], email: ['email', 'email_verified'], groups: ['groups', 'level'] },
    features: { deviceFlow: { enabled: true }, devInteractions: { enabled: true } },
    pkce: { required: () => true },
    findAccount: (_, id) => ({
      accountId: id,
      claims: () => ({ sub: id, email: id, email_verified: !id.startsWith('unverified'), level: 7, groups: id.startsWith('nobody') ? [] : ['staff', 'team-aws-reader'] }),
    }),
  });
  server.on('request', provider.callback());
  console.log(issuer);
});
