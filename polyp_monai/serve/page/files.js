/** From what was chosen or dropped to frames and clips, folders in depth, in the order of their names. */

const CLIPS = /\.(mp4|m4v|mov|mkv|avi|webm|mpe?g|wmv|ts)$/i;
const FRAMES = /\.(jpe?g|png|tiff?|bmp|webp|hei[cf]|nii|nii\.gz|dcm|dicom)$/i;

const isClip = (file) => file.type.startsWith("video/") || CLIPS.test(file.name);
const isFrame = (file) => file.type.startsWith("image/") || FRAMES.test(file.name);

/** { frames, clips }: each a list of { file, name }. What lies in a folder and is neither is passed over; what the user
 * named is read whatever it is, so that the service can say what is wrong with it. */
export function sorted(files, named) {
  const all = files
    .map(({ file, path }) => ({ file, name: path || file.webkitRelativePath || file.name }))
    .filter(({ name }) => !name.split("/").some((part) => part.startsWith(".")))
    .sort((a, b) => a.name.localeCompare(b.name, "en", { numeric: true }));
  const clips = all.filter(({ file }) => isClip(file));
  return { clips, frames: all.filter(({ file }) => !isClip(file) && (named || isFrame(file))) };
}

/** The files of a drop: [{ file, path }], and whether all were named and none came out of a folder. */
export async function dropped(transfer) {
  const entries = [...transfer.items]
    .filter((i) => i.kind === "file")
    .map((i) => i.webkitGetAsEntry?.() ?? i.getAsFile());
  const files = [],
    named = !entries.some((entry) => entry?.isDirectory);
  for (const entry of entries) await collect(entry, "", files);
  return { files, named };
}

async function collect(entry, folder, into) {
  if (entry instanceof File) into.push({ file: entry, path: entry.name });
  else if (entry?.isFile) {
    const file = await new Promise((resolve, reject) => entry.file(resolve, reject));
    into.push({ file, path: folder + entry.name });
  } else if (entry?.isDirectory) {
    const reader = entry.createReader();
    for (;;) {
      // a hundred at a time
      const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
      if (!some.length) return;
      for (const inner of some) await collect(inner, `${folder}${entry.name}/`, into);
    }
  }
}
