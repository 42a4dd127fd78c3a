/**
 * Best-fit-decreasing bin packing: longest first, each into the fullest bin that still has room. Bins come in the order
 * they were opened, members as indices into `lengths`. Equal lengths keep their order. O(n log capacity).
 */
export function packBestFit(lengths: ArrayLike<number>, capacity: number): number[][] {
  const order = Array.from({ length: lengths.length }, (_, i) => i).sort((a, b) => lengths[b]! - lengths[a]! || a - b);
  const bins: number[][] = [];
  const byRoom: number[][] = Array.from({ length: capacity + 1 }, () => []);
  const rooms = createRooms(capacity);
  for (const item of order) {
    const length = lengths[item]!;
    if (length > capacity) throw new RangeError(`a sample of ${length} tokens does not fit into ${capacity}`);
    const room = rooms.smallestFrom(length);
    let bin: number;
    if (room < 0) bin = bins.push([]) - 1;
    else {
      bin = byRoom[room]!.pop()!;
      if (byRoom[room]!.length === 0) rooms.set(room, 0);
    }
    bins[bin]!.push(item);
    const left = (room < 0 ? capacity : room) - length;
    byRoom[left]!.push(bin);
    rooms.set(left, 1);
  }
  return bins;
}

/** Which amounts of room some bin has: a segment tree over 0 ... capacity. */
function createRooms(capacity: number) {
  let size = 1;
  while (size < capacity + 1) size *= 2;
  const any = new Uint8Array(2 * size);
  return {
    set(room: number, value: 0 | 1) {
      let node = size + room;
      any[node] = value;
      while ((node >>= 1) > 0) any[node] = any[2 * node]! | any[2 * node + 1]!;
    },
    /** The smallest room that is at least `least`, or -1. */
    smallestFrom(least: number): number {
      let node = size + least;
      while (any[node] === 0) {
        while (node > 1 && node % 2 === 1) node >>= 1; // up, while there is nothing to the right
        if (node <= 1) return -1;
        node++;
      }
      while (node < size) node = any[2 * node] === 1 ? 2 * node : 2 * node + 1;
      return node - size;
    },
  };
}
