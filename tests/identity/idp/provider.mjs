// A real OpenID Connect provider for the tests of sign-in, on loopback, with its own built-in login pages.
// Prints one line of JSON ({"issuer": ...}) once it listens; ends when its standard input closes.
// POST /rotate gives it new signing keys, as providers do from time to time.
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { createServer } from 'node:http';
import { Provider } from 'oidc-provider';

const people = {
  aiko: { name: '青木 愛子', email: 'aiko@example.jp', email_verified: true, groups: ['ops', 'soc'] },
  fumi: { name: '馬場 文', email: 'fumi@example.jp', email_verified: false, groups: [] },
};

const redirect = process.argv[2];
const server = createServer();
let provider;

function keys() {
  const pairs = [
    ['RS256', generateKeyPairSync('rsa', { modulusLength: 2048 })],
    ['ES256', generateKeyPairSync('ec', { namedCurve: 'P-256' })],
    ['EdDSA', generateKeyPairSync('ed25519')],
  ];
  return {
    keys: pairs.map(([alg, pair]) => ({
      ...pair.privateKey.export({ format: 'jwk' }),
      use: 'sig',
      alg,
      kid: randomBytes(6).toString('hex'),
    })),
  };
}

function client(id, alg) {
  return {
    client_id: id,
    client_secret: `made-up-secret-of-${id}-for-tests-only`,
    token_endpoint_auth_method: 'client_secret_post',
    redirect_uris: [redirect],
    response_types: ['code'],
    grant_types: ['authorization_code', 'urn:ietf:params:oauth:grant-type:device_code'],
    id_token_signed_response_alg: alg,
  };
}

function make(issuer) {
  provider = new Provider(issuer, {
    jwks: keys(),
    cookies: { keys: [randomBytes(16).toString('hex')] },
    clients: [client('rs', 'RS256'), client('es', 'ES256'), client('ed', 'EdDSA'), client('other', 'RS256')],
    enabledJWA: { idTokenSigningAlgValues: ['RS256', 'ES256', 'EdDSA'] },
    findAccount: (_context, id) => ({ accountId: id, claims: async () => ({ sub: id, ...people[id] }) }),
    claims: { openid: ['sub'], profile: ['name'], email: ['email', 'email_verified'], groups: ['groups'] },
    scopes: ['openid', 'profile', 'email', 'groups'],
    features: { deviceFlow: { enabled: true }, devInteractions: { enabled: true } },
    pkce: { required: () => true },
    conformIdTokenClaims: false,
    ttl: { DeviceCode: 600 },
  });
}

server.listen(0, '127.0.0.1', () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  make(issuer);
  server.on('request', (request, response) => {
    if (request.method === 'POST' && request.url === '/rotate') {
      make(issuer);
      response.end('{}');
      return;
    }
    provider.callback()(request, response);
  });
  console.log(JSON.stringify({ issuer }));
});
process.stdin.resume();
process.stdin.on('close', () => process.exit(0));
process.stdin.on('end', () => process.exit(0));
