/** `~` and `~/x` with the home folder in its place; any other path as it is. */
export function inHome(home: string): (path: string) => string {
  return (path) => path.replace(/^~(?=$|[/\\])/, () => home);
}
