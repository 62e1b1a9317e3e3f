import { afterEach, describe, expect, it, vi } from 'vitest';
import { AddressBook, type AddressBookOptions, type ResolvedAddress } from './addresses.ts';

/** A name server whose answers a test sets. */
function nameServer() {
  const answers = new Map<string, readonly string[] | Error | Promise<readonly string[]>>();
  const resolve = async (name: string): Promise<readonly ResolvedAddress[]> => {
    const answer = await answers.get(name);
    if (answer === undefined || answer instanceof Error) throw answer ?? new Error('ENOTFOUND');
    return answer.map((address) => ({ address, family: address.includes(':') ? 6 : 4 }));
  };
  return { answers, resolve };
}

const books: AddressBook[] = [];

function open(options: Partial<AddressBookOptions> & Pick<AddressBookOptions, 'resolve'>) {
  const onChange = vi.fn<() => void>();
  const book = new AddressBook({ allowedRanges: [], onChange, everyMs: 3_600_000, ...options });
  books.push(book);
  return { book, onChange };
}

describe('the addresses of services', () => {
  afterEach(() => {
    for (const book of books.splice(0)) book.close();
  });

  it('are looked up and told without duplicates, in one order', async () => {
    const { answers, resolve } = nameServer();
    answers.set('a.example', ['198.51.99.2', '198.51.99.1', '2600::1', '198.51.99.1']);
    const { book, onChange } = open({ resolve });
    await book.setServices({ a: 'https://a.example/x' });
    expect(book.addresses).toEqual({ a: ['198.51.99.1', '198.51.99.2', '2600::1'] });
    answers.set('a.example', ['2600::1', '198.51.99.1', '198.51.99.2']);
    await book.refresh();
    expect(onChange).not.toHaveBeenCalled();
  });

  it.each([
    ['a private address', 'https://a.example', ['10.0.0.1']],
    ['a metadata service', 'https://a.example', ['169.254.169.254']],
    ['this machine', 'https://a.example', ['127.0.0.1']],
    ['a mapped address', 'https://a.example', ['::ffff:169.254.169.254']],
    ['one forbidden among public ones', 'https://a.example', ['198.51.99.1', '192.168.1.1']],
    ['no encryption', 'http://a.example', ['198.51.99.1']],
    ['no address at all', 'https://a.example', []],
    ['a private address by itself', 'https://10.0.0.1', []],
    ['another kind of URL', 'file:///etc/passwd', []],
  ])('are refused: %s', async (_what, url, addresses) => {
    const { answers, resolve } = nameServer();
    answers.set('a.example', addresses);
    const { book } = open({ resolve });
    await book.setServices({ a: url });
    expect(book.addresses).toEqual({});
    expect(book.problems.get('a')).toBeDefined();
  });

  it('may be private, and asked over http, where a range allows it', async () => {
    const { answers, resolve } = nameServer();
    answers.set('a.example', ['10.1.2.3']);
    const { book } = open({ resolve, allowedRanges: ['10.0.0.0/8'] });
    await book.setServices({ a: 'http://a.example:8080', b: 'http://10.9.9.9', c: 'http://192.168.0.1' });
    expect(book.addresses).toEqual({ a: ['10.1.2.3'], b: ['10.9.9.9'] });
    expect([...book.problems.keys()]).toEqual(['c']);
  });

  it.each(['169.254.169.254', 'fd00:ec2::254', 'fe80::1', '168.63.129.16'])(
    'are never those of metadata services, whatever range is allowed: %s',
    async (address) => {
      const { answers, resolve } = nameServer();
      answers.set('a.example', [address]);
      const { book } = open({ resolve, allowedRanges: ['0.0.0.0/0', '::/0'] });
      await book.setServices({ a: 'https://a.example' });
      expect(book.addresses).toEqual({});
      expect(book.problems.get('a')).toBeDefined();
    },
  );

  it('are followed, and those that were good stay while the name fails or leads astray', async () => {
    const { answers, resolve } = nameServer();
    answers.set('a.example', ['198.51.99.1']);
    const { book, onChange } = open({ resolve });
    await book.setServices({ a: 'https://a.example' });
    answers.set('a.example', ['198.51.99.9']);
    await book.refresh();
    expect(onChange).toHaveBeenCalledTimes(1);
    expect(book.addresses).toEqual({ a: ['198.51.99.9'] });
    answers.set('a.example', new Error('SERVFAIL'));
    await book.refresh();
    expect(book.problems.get('a')).toBe('Its name does not resolve.');
    answers.set('a.example', ['169.254.169.254']);
    await book.refresh();
    expect(book.problems.get('a')).toContain('not a public address');
    expect(book.addresses).toEqual({ a: ['198.51.99.9'] });
    answers.set('a.example', ['198.51.99.9']);
    await book.refresh();
    expect(book.problems.size).toBe(0);
    expect(onChange).toHaveBeenCalledTimes(4);
  });

  it('are looked up by themselves every now and then', async () => {
    const { answers, resolve } = nameServer();
    answers.set('a.example', ['198.51.99.1']);
    const changed = Promise.withResolvers<void>();
    const { book } = open({ resolve, everyMs: 10, onChange: () => changed.resolve() });
    await book.setServices({ a: 'https://a.example' });
    answers.set('a.example', ['198.51.99.2']);
    await changed.promise;
    expect(book.addresses).toEqual({ a: ['198.51.99.2'] });
  });

  it('belong to one URL, and go with their service', async () => {
    const { answers, resolve } = nameServer();
    answers.set('a.example', ['198.51.99.1']);
    const { book } = open({ resolve });
    await book.setServices({ a: 'https://a.example' });
    await book.setServices({ a: 'https://other.example' });
    expect(book.addresses).toEqual({});
    await book.setServices({});
    expect(book.problems.size).toBe(0);
  });

  it('that come late are not waited for, and told of when they are there', async () => {
    const { answers, resolve } = nameServer();
    const late = Promise.withResolvers<readonly string[]>();
    answers.set('a.example', late.promise);
    const changed = Promise.withResolvers<void>();
    const { book } = open({ resolve, patienceMs: 5, onChange: () => changed.resolve() });
    await book.setServices({ a: 'https://a.example' });
    expect(book.addresses).toEqual({});
    late.resolve(['198.51.99.1']);
    await changed.promise;
    expect(book.addresses).toEqual({ a: ['198.51.99.1'] });
  });
});
